#!/bin/sh
# Runs one client command with a daemon of its own, which ends with it:
#
#   docker run --rm --privileged -v "$PWD:/src" --entrypoint buildctl-daemonless.sh IMAGE build …
#
# BUILDKITD_FLAGS are the daemon's flags, separated by spaces. BUILDKITD, BUILDCTL and ROOTLESSKIT name other programs,
# BUILDCTL_CONNECT_RETRIES_MAX says how often to ask whether the daemon answers, twice a second.
set -eu
: "${BUILDCTL=buildctl}" "${BUILDCTL_CONNECT_RETRIES_MAX=20}" "${BUILDKITD=buildkitd}" "${BUILDKITD_FLAGS=}" "${ROOTLESSKIT=rootlesskit}"

dir=$(mktemp -d)
daemon=''
finish() {
	code=$?
	trap - EXIT
	if [ -n "$daemon" ]; then
		kill "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
	fi
	rm -rf "$dir"
	exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

address=unix://$dir/buildkitd.sock
start=
if [ "$(id -u)" = 0 ]; then
	[ "${0##*/}" != buildctl-daemonless.sh ] || [ ! -x /usr/bin/buildkitd-entrypoint ] || [ "$BUILDKITD" != buildkitd ] || BUILDKITD=buildkitd-entrypoint
else
	start=$ROOTLESSKIT
fi
# shellcheck disable=SC2086 # flags are several words
$start $BUILDKITD $BUILDKITD_FLAGS --addr="$address" >"$dir/log" 2>&1 &
daemon=$!
tries=0
until $BUILDCTL --addr="$address" debug workers >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ "$tries" -gt "$BUILDCTL_CONNECT_RETRIES_MAX" ] || ! kill -0 "$daemon" 2>/dev/null; then
		echo "buildctl-daemonless.sh: the daemon does not answer; it said:" >&2
		cat "$dir/log" >&2
		exit 1
	fi
	sleep 0.5
done
$BUILDCTL --addr="$address" "$@"
