# shellcheck shell=bash
# Sourced by scripts that need a registry with base images and a running kilnd of their own.
#
# Everything lives in one temporary folder, listens on free addresses, and is stopped by process id when the script
# ends, however it ends. The script calls start_registry and start_daemon, then uses:
#   work      the temporary folder                 registry  HOST:PORT of the registry
#   busybox   reference of the busybox image       debian    reference of the Debian image
#   socket    address of the daemon                kilnd_pid its process id

work=$(mktemp -d "${TMPDIR:-/tmp}/kiln-run.XXXXXX")
pids=()

# stop_all ends what this script started, newest first, and removes what it stored.
stop_all() {
	local code=$? i
	trap - EXIT INT TERM
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill -TERM "${pids[i]}" 2>/dev/null || true
		wait "${pids[i]}" 2>/dev/null || true
	done
	# A layer of a daemon that was killed may still be mounted; rm must not descend into it.
	awk -v below="$work/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount -l || true
	rm -rf --one-file-system "$work"
	exit "$code"
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start_registry IMAGES makes and serves base images (comma-separated: busybox, debian) and sets their references.
start_registry() {
	local tries
	go build -o "$work/fixtures" ./test/fixtures/cmd/fixtures
	"$work/fixtures" serve --images "$1" >"$work/references" 2>"$work/fixtures.log" &
	pids+=($!)
	# The first Debian image takes a quarter of a minute; a slow mirror may need more.
	for ((tries = 0; tries < 6000; tries++)); do
		if grep -q '^ready=' "$work/references"; then
			registry=$(sed -n 's/^registry=//p' "$work/references")
			busybox=$(sed -n 's/^busybox=//p' "$work/references")
			debian=$(sed -n 's/^debian=//p' "$work/references")
			export registry busybox debian
			return
		fi
		kill -0 "${pids[-1]}" 2>/dev/null || break
		sleep 0.1
	done
	printf 'the base images could not be made:\n' >&2
	cat "$work/fixtures.log" >&2
	exit 1
}

# start_daemon starts bin/kilnd on an empty state and waits until it answers.
start_daemon() {
	local tries
	socket=unix://$work/kilnd.sock
	bin/kilnd --root "$work/state" --addr "$socket" --otel-socket-path "$work/otel.sock" >"$work/kilnd.log" 2>&1 &
	kilnd_pid=$!
	pids+=("$kilnd_pid")
	for ((tries = 0; tries < 300; tries++)); do
		if bin/kiln --addr "$socket" debug info >/dev/null 2>&1; then
			export socket kilnd_pid
			return
		fi
		kill -0 "$kilnd_pid" 2>/dev/null || break
		sleep 0.1
	done
	printf 'kilnd did not start:\n' >&2
	tail -n 40 "$work/kilnd.log" >&2
	exit 1
}
