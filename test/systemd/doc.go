// Package systemd tests the deb in a real systemd: installation, a daemon that
// its sockets start, idle stop, failures, an ordinary user's rootless units, an
// upgrade in the middle of a build, and a purge. The rpm is tested in a tree,
// where nothing runs.
//
// # Vocabulary
//
//   - Machine: a minimal Debian whose systemd is process 1 of its own
//     namespaces, on a file system in memory. Nothing of it is left behind.
//
// # What it does not do
//
// The machine shares the kernel and the network of the one it runs on.
package systemd
