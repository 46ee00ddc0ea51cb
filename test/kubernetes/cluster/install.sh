#!/usr/bin/env bash
# Puts what the tests of this folder need into a folder of the user's cache, and prints the folder: kube-apiserver, kubectl,
# helm and kubeconform are compiled from their modules (once; about 15 minutes of CPU and 2.5 GB of memory), etcd is Debian's.
# Nothing is installed and nothing is started.
set -euo pipefail

top=$(cd "$(dirname "$0")/../../.." && pwd)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/kiln/kubernetes
helm=v4.3.1
kubeconform=v0.8.0
mkdir -p "$dir"

if ! [ -x "$dir/etcd" ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download etcd-server && dpkg-deb -x etcd-server_*.deb .) >&2
	mv "$work/usr/bin/etcd" "$dir/etcd"
fi
for program in kubectl kube-apiserver; do
	(cd "$top/test/kubernetes/tools" && go build -trimpath -ldflags "-s -w" -o "$dir/$program" "k8s.io/kubernetes/cmd/$program") >&2
done
# install MODULE VERSION compiles a program unless that version is there.
install() {
	local program=${1##*/}
	[ -x "$dir/$program-$2" ] && return
	(cd / && GOBIN=$dir/new go install -trimpath -ldflags "-s -w" "$1@$2") >&2
	mv "$dir/new/$program" "$dir/$program-$2"
	ln -sf "$program-$2" "$dir/$program"
}
install helm.sh/helm/v4/cmd/helm "$helm"
install github.com/yannh/kubeconform/cmd/kubeconform "$kubeconform"
printf '%s\n' "$dir"
