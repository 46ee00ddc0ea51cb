// Package daemon runs kilnd and its clients as processes for tests that stand
// outside.
//
// Promise: a test gets the daemon a user would get, built from this tree, on a
// state of its own; whatever the test does to it, the process, its containers
// and its mounts are gone when the daemon is closed or the test's own process
// ends; and what it left on the machine can be counted.
//
// Vocabulary. A program is kilnd or kiln, built from this tree. A client is a
// program of others, at the version test/interop/tools pins. Both are built
// once per user and kept in the user's cache folder. A Daemon is one state
// directory with, most of the time, one process. A Footprint is what a
// daemon has of the machine at one moment: mounts, processes, leases, ingests,
// goroutines, open files.
//
// Lifecycle. Tests call Run, which stops the daemon at the end of the test and
// fails it if mounts or processes are left. Programs and TestMain functions
// call New, Start and Close. Kill and Start may alternate as often as wanted.
//
// Concurrency. A Daemon may be asked by several goroutines; Start, Kill, Stop
// and Close may not overlap. Several processes may build the same program at
// once: the first builds, the others wait.
//
// The folder also has daemon.sh, which does the same for scripts. Needs root
// and what .ci/install installs. It judges nothing but leaks.
package daemon
