// Package bench times daemons that speak the Control API, side by side in one
// run.
//
// Promise: every daemon does the same work, asked for by the same client
// program with the same arguments, in turn within each round and in the
// opposite order in the next, so that what else happens on the machine hits
// all of them alike. The harness measures wall time from the start of the
// client to its end, and reads the memory of daemons whose process id it was
// given. It starts and stops no daemon.
//
// Vocabulary. A Daemon is a name and an address. A Workload is a list of
// phases over one prepared Scene: a folder of its own and the base images'
// registry. A round runs every phase once on every daemon. A Sample is one
// phase on one daemon in one round. The first daemon of the list is the
// baseline: the ratio of another is the median over rounds of baseline time
// divided by its time, so 2.0 reads "twice as fast as the baseline".
//
// Lifecycle. Run starts a registry with base images, prepares each workload
// once, runs its rounds, and returns a Report that prints as a table and as
// JSON. The harness is strictly sequential: one client at a time.
//
// It does not isolate daemons from each other's disk and page cache, does not
// prune what it made them store, and judges nothing: reading the table is the
// caller's.
package bench
