#!/usr/bin/env bash
# kiln's image under a real Docker engine and Podman; see doc.go. It needs root, and what `make test-engine` builds before.
#
#   test/engine/run.sh [--compile]
#
# --compile has the Dockerfile's own stage compile kiln, on a Go image made of this machine's Go and Debian, as users do;
# otherwise the programs of bin/ are taken, which is much quicker.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/daemon/daemon.sh
. test/daemon/daemon.sh

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { printf 'engine: %s\n' "$*" >&2; exit 1; }

compile=
[ "${1:-}" != --compile ] || compile=yes
[ "$(id -u)" = 0 ] || die "this needs root: try sudo make test-engine"

# tree unpacks the Debian with both engines, which is made once per user.
tree() {
	local codename kept
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	kept=${XDG_CACHE_HOME:-$HOME/.cache}/kiln/engine-$codename-1.tar
	if [ ! -e "$kept" ]; then
		mkdir -p "${kept%/*}"
		mmdebstrap --quiet --variant=minbase --skip=output/dev --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
			--include=docker.io,podman,crun,ca-certificates,iptables "$codename" "$kept.new.tar"
		mv "$kept.new.tar" "$kept"
	fi
	mkdir "$work/tree"
	tar -C "$work/tree" -xf "$kept"
}

# start_engine starts dockerd with the tree as its root. Unlike chroot, what it starts and enters later stays inside.
start_engine() {
	local tries
	mkdir -p "$work/tree/srv" "$work/tree/usr/libexec/docker/cli-plugins"
	cp bin/docker-buildx "$work/tree/usr/libexec/docker/cli-plugins/"
	cp bin/kiln "$work/tree/usr/bin/"
	cp /etc/resolv.conf /etc/hosts "$work/tree/etc/"
	# Engines before 23 ask for every capability in privileged containers. A machine that is a guest itself may lack
	# CAP_SYS_RESOURCE (bit 24), and nothing here needs it.
	if (((0x$(awk '/^CapBnd/ { print $2 }' /proc/self/status) >> 24 & 1) == 0)); then
		cat >"$work/tree/usr/local/sbin/runc" <<-'EOF'
			#!/bin/sh
			last=
			for arg; do
				case $last in
				--bundle | --process) for file in "$arg" "$arg/config.json"; do
					[ ! -f "$file" ] || sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$file"
				done ;;
				esac
				last=$arg
			done
			exec /usr/sbin/runc "$@"
		EOF
		chmod +x "$work/tree/usr/local/sbin/runc"
	fi
	# shellcheck disable=SC2016 # the inner shell expands
	unshare --mount --propagation private bash -eu -c '
		mount --bind "$0" "$0"
		cd "$0"
		mkdir -p proc sys dev run
		mount -t proc proc proc
		mount --rbind /sys sys
		mount --rbind /dev dev
		mount -t tmpfs tmpfs run
		pivot_root . .
		umount -l .
		exec dockerd --iptables=false --bridge=none --storage-driver=overlay2
	' "$work/tree" >"$work/dockerd.log" 2>&1 &
	engine=$!
	pids+=("$engine")
	for ((tries = 0; tries < 600; tries++)); do
		if in_tree docker info >/dev/null 2>&1; then
			return
		fi
		kill -0 "$engine" 2>/dev/null || break
		sleep 0.1
	done
	tail -n 40 "$work/dockerd.log" >&2
	die "dockerd did not start"
}

# in_tree runs a program beside dockerd.
in_tree() { nsenter -m -t "$engine" -- env -i PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root BUILDKIT_PROGRESS=plain "$@"; }

# build OPTIONS… has kiln build.
build() {
	bin/kiln --addr "$socket" build "${proxies[@]}" "$@" || {
		tail -n 20 "$work/kilnd.log" >&2
		die "kiln build $*"
	}
}

# go_image makes what golang:1.x is elsewhere: Debian with this machine's Go, its certificates and its proxy for modules.
go_image() {
	mkdir "$work/go"
	cp /etc/ssl/certs/ca-certificates.crt "$work/go/"
	cat >"$work/go/Dockerfile" <<-EOF
		FROM $debian
		COPY --from=go / /usr/local/go/
		COPY ca-certificates.crt /etc/ssl/certs/
		ENV PATH=/usr/local/go/bin:/usr/bin:/bin GOPATH=/go GOPROXY=$(go env GOPROXY) GOSUMDB=$(go env GOSUMDB)
	EOF
	build --opt context:go=local:go --local "go=$(go env GOROOT)" -t "$registry/golang:local" --push "$work/go"
}

# image TARGET builds one variant of kiln's image and gives it to the engines.
image() {
	local args=(--build-arg "BASE_IMAGE=$debian")
	if [ -n "$compile" ]; then
		args+=(--build-arg "GO_IMAGE=$registry/golang:local")
	else
		args+=(--opt context:build=local:build --local "build=$work/programs")
	fi
	build "${args[@]}" -f packaging/image/Dockerfile --target "$1" \
		--output "type=docker,name=kiln.test/kiln:$1,dest=$work/tree/srv/$1.tar" .
	in_tree docker load -i "/srv/$1.tar"
}

# builder TARGET goes through the life of a builder of buildx's docker-container driver.
builder() {
	local buildx=(docker buildx) name=of-$1 said
	say "docker buildx, docker-container driver, image $1"
	in_tree "${buildx[@]}" create --name "$name" --driver docker-container --driver-opt "image=kiln.test/kiln:$1,network=host"
	in_tree "${buildx[@]}" inspect --bootstrap "$name"
	in_tree "${buildx[@]}" build --builder "$name" --load -t "loaded:$1" /srv/context
	[ "$(in_tree docker run --rm --network=none "loaded:$1" cat /made)" = "made by a step" ] || die "the loaded image is another"
	in_tree "${buildx[@]}" build --builder "$name" --push -t "$registry/pushed:$1" /srv/context
	curl -fsS -o /dev/null -H 'Accept: application/vnd.oci.image.index.v1+json' "http://$registry/v2/pushed/manifests/$1"
	in_tree "${buildx[@]}" build --builder "$name" --platform linux/arm64 /srv/foreign
	said=$(in_tree "${buildx[@]}" du --builder "$name")
	[[ $said == *Total:* ]] || die "du has no total: $said"
	in_tree "${buildx[@]}" stop "$name"
	# It is started by the next build, with its cache.
	said=$(in_tree "${buildx[@]}" build --builder "$name" /srv/context 2>&1)
	[[ $said == *CACHED* ]] || die "the cache is gone after a stop: $said"
	in_tree "${buildx[@]}" prune --builder "$name" --all --force
	said=$(in_tree "${buildx[@]}" build --builder "$name" /srv/context 2>&1)
	[[ $said != *CACHED* ]] || die "prune left something: $said"
	in_tree "${buildx[@]}" rm "$name"
	[ -z "$(in_tree docker ps -aq)" ] || die "containers are left"
	[ -z "$(in_tree docker volume ls -q)" ] || die "volumes are left"
}

# container ENGINE NAME OPTIONS… runs a daemon in a container and builds through it.
container() {
	local program=$1 name=$2 tries
	shift 2
	say "$program run: $name"
	in_tree "$program" run -d --network=host --name "$name" "$@"
	for ((tries = 0; tries < 100; tries++)); do
		if in_tree "$program" exec "$name" buildctl debug workers >/dev/null 2>&1; then break; fi
		sleep 0.2
	done
	in_tree kiln --addr "$program-container://$name" build --progress=plain /srv/context || {
		in_tree "$program" logs "$name" >&2
		die "a build in $name"
	}
	sleep 1
	[ -z "$(in_tree "$program" exec "$name" sh -c "grep -l '^State:.Z' /proc/[0-9]*/status || :")" ] || die "dead processes in $name"
	in_tree "$program" rm -f -v "$name"
}

say "Making base images and the tree (minutes the first time)"
start_registry busybox,debian,busybox-multi
foreign=$(sed -n 's/^busybox-multi=//p' "$work/references")
tree
say "Starting kilnd and dockerd"
start_daemon
start_engine
mkdir -p "$work/tree/srv/context" "$work/tree/srv/foreign" "$work/programs/out/usr/bin"
# shellcheck disable=SC2154 # daemon.sh sets them
printf 'FROM %s\nRUN echo made by a step >/made\n' "$busybox" >"$work/tree/srv/context/Dockerfile"
# shellcheck disable=SC2016 # the step expands
printf 'FROM %s\nRUN [ "$(uname -m)" = aarch64 ] && /bin/ls /bin/busybox\n' "$foreign" >"$work/tree/srv/foreign/Dockerfile"
cp bin/kilnd bin/kiln "$work/programs/out/usr/bin/"
proxies=()
for name in http_proxy https_proxy no_proxy; do
	[ -z "${!name:-}" ] || proxies+=(--build-arg "$name=${!name}")
done
[ -z "$compile" ] || go_image
for target in root rootless; do
	say "Building the image: $target"
	image "$target"
	builder "$target"
done

say "docker run: a client with a daemon of its own"
in_tree docker run --rm --privileged --network=host -v /srv/context:/context --entrypoint buildctl-daemonless.sh kiln.test/kiln:root \
	build --frontend dockerfile.v0 --local context=/context --local dockerfile=/context
container docker root --privileged kiln.test/kiln:root
container docker rootless --security-opt seccomp=unconfined --security-opt systempaths=unconfined kiln.test/kiln:rootless
container docker rootless-no-sandbox --security-opt seccomp=unconfined kiln.test/kiln:rootless --oci-worker-no-process-sandbox
in_tree podman load -i /srv/root.tar
# Debian's crun refuses machines with both versions of cgroups; and Podman raises limits by itself, which a guest may not.
cat >"$work/tree/etc/containers/containers.conf" <<-EOF
	[engine]
	cgroup_manager = "cgroupfs"
	runtime = "runc"
	events_logger = "file"
	[engine.runtimes]
	runc = ["/usr/local/sbin/runc", "/usr/sbin/runc"]
EOF
container podman root --privileged --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 kiln.test/kiln:root
say "All went well; stopping what was started"
