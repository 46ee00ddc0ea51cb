#!/usr/bin/env bash
# Starts kilnd on an empty state and runs the benchmark harness against it and whatever daemons are given:
#   test/bench/run.sh [-daemon NAME=ADDRESS[,pid=N]]… [other flags of test/bench/cmd/bench]
# The daemons given come first, so the first of them is what kiln is compared with.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=test/daemon/daemon.sh
. test/daemon/daemon.sh

go build -o "$work/bench" ./test/bench/cmd/bench
start_daemon
"$work/bench" -client "${CLIENT:-bin/kiln}" "$@" -daemon "kiln=$socket,pid=$kilnd_pid"
