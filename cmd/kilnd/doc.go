// Command kilnd is the builder's daemon. It takes buildkitd's flags and reads buildkitd.toml, and answers as buildkitd
// when it is installed or linked under that name.
//
// # Life
//
// Flags and the configuration file make Settings; the listeners open first, so that clients of systemd's sockets wait
// instead of failing; then the host and the builder; then READY=1. The first SIGTERM or SIGINT ends builds and closes
// everything in order, the second gives up waiting, the third ends the process on the spot.
//
// # Exit status
//
// 0 after an orderly stop; 1 after a failure, with "kilnd: <reason>" on stderr, and after a forced stop.
package main
