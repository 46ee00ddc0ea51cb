// Package proxy offers a snapshotter and a differ to a containerd in another process, over a socket, in the two forms
// that containerd's proxy_plugins know: type "snapshot" and type "diff". Its promises:
//
//   - What a caller is told to exist does exist: errors keep their containerd kinds on the way.
//   - The socket is the owner's alone, and there is no moment at which others could connect to it.
//   - A stale socket of a process that died is taken over; one that is alive is not.
//
// # Vocabulary
//
// An offer is the pair of a snapshotter and a differ. A caller is the containerd that has the socket in its
// configuration; it calls with its own names for snapshots and with the namespace of its client.
//
// # Lifecycle
//
// Serve listens and returns; Close waits for running calls and ends. Whoever made the parts closes them, after Close.
//
// # Concurrency
//
// As many calls run at once as the caller makes; the parts have to bear that.
//
// # What it does not do
//
// It keeps nothing. Layer blobs that it makes for a caller belong to that caller. containerd leaves the lease out when it
// hands a call on; the blob is then put under a lease that expires after an hour, so that the collector does not come
// before its name.
package proxy
