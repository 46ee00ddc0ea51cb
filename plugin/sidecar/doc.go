// Package sidecar makes a plugin.Host of a containerd that runs in another process, over its socket. Its promises:
//
//   - A containerd whose configuration nobody touched is enough: file systems are then kept by its own snapshotter.
//   - Images, blobs, leases and snapshots are containerd's, in the namespace that was asked for; every other client of
//     that namespace sees an image in the moment in which the build is done, without an export.
//   - A restart of containerd costs the builds that run at the time, which end with an error that says so, and nothing
//     else: the next build finds containerd again by itself.
//
// # Vocabulary
//
// The containerd is the process at the other end. The offer is kiln's snapshotter and differ served back to it (package
// proxy), for a containerd that has them in its configuration. A foreign snapshotter is any other that it has.
//
// # Which snapshotter
//
// Unless one is named: "kiln" where the containerd has it, else "overlayfs", else "native". If "kiln" is a proxy plugin,
// its address is read from the containerd and the offer is served there, so that nothing has to be configured twice, and
// the builder uses the abilities that it has beyond containerd's contract. With a foreign snapshotter it does without:
// merges copy, and the indexes of layers are kept beside the build's records.
//
// The differ is always kiln's, in this process: layers are compared where they are mounted, and only the finished blob
// goes over the socket.
//
// # Durability
//
// containerd syncs its own metadata in each transaction, so what it has acknowledged is safe and Host.Sync has nothing to
// do. kiln's own snapshotter syncs in Commit for the same reason.
//
// # Lifecycle
//
// Open takes the lock of the root directory, waits a while for the containerd and serves the offer; Close ends in the
// reverse order. Everything is usable from any goroutine in between.
//
// # What it does not do
//
// It runs no containers in the containerd: steps are run by this process's own runtime on the containerd's file systems,
// so both must see the same directories.
package sidecar
