#!/usr/bin/env bash
# The quickstart: starts kilnd on an empty state, builds examples/quickstart (a program compiled on Debian, alone on
# busybox), pushes the image to a registry of its own, builds again from the cache, runs the result, and stops
# everything. It needs root and what `make quickstart` installs and builds before it calls this.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/daemon/daemon.sh
. test/daemon/daemon.sh

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

[ "$(id -u)" = 0 ] || { printf 'quickstart: this needs root (a build starts containers): try sudo make quickstart\n' >&2; exit 1; }

say "Making base images from Debian's packages (a minute the first time, nothing later)"
start_registry busybox,debian
printf 'debian:  %s\nbusybox: %s\n' "$debian" "$busybox"

say "Starting kilnd"
start_daemon
printf 'pid %s on %s\n' "$kilnd_pid" "$socket"

# The builder reads the proxies of whoever runs it from the usual variables, like every other client.
args=(--build-arg "DEBIAN=$debian" --build-arg "BUSYBOX=$busybox")
for name in http_proxy https_proxy no_proxy; do
	[ -z "${!name:-}" ] || args+=(--build-arg "$name=${!name}")
done
image=$registry/hello:quickstart

# build OPTIONS… builds the example; if it fails, the daemon's own words are shown too.
build() {
	bin/kiln --addr "$socket" build "${args[@]}" "$@" examples/quickstart || {
		tail -n 20 "$work/kilnd.log" >&2
		exit 1
	}
}

say "Building and pushing $image"
from=$SECONDS
build -t "$image" --push
printf 'built and pushed in %d s\n' $((SECONDS - from))

say "Building again: everything is cached; this time the file system is written to a folder"
build --output "type=local,dest=$work/rootfs"

say "Running the image's program in that folder"
said=$(chroot "$work/rootfs" /usr/bin/hello)
printf '%s\n' "$said"
[[ $said == "hello from an image built by kiln"* ]] || { printf 'quickstart: the image said something else\n' >&2; exit 1; }

say "What the registry holds"
curl -fsS -H 'Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json' \
	"http://$registry/v2/hello/manifests/quickstart" | jq -r '.mediaType, (.manifests // .layers | .[] | "\(.size) bytes \(.digest)")'

say "All went well; stopping what was started"
