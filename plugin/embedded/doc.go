// Package embedded assembles containerd's services in this process: content, metadata, leases, images, snapshots,
// diff, transfer and garbage collection, on kiln's own snapshotter. Its promises:
//
//   - Open takes milliseconds, however much state there is and however the previous process ended.
//   - Nothing else than the directory is needed, and one process at a time owns it.
//   - The same services are served on <state>/containerd.sock, so that ctr works against them.
//
// # Vocabulary
//
// The root directory holds what lasts: meta.db and its safe point record (package safebolt), content/, snapshots/,
// introspection/uuid and kilnd.lock. The state directory holds the socket and a lock of its own. A backend is a store below the metadata
// layer, which knows files but neither namespaces nor leases. A barrier is the wait for a safe point before a backend
// destroys a file.
//
// # Durability
//
// Metadata transactions are not synced one by one. Three rules keep a power loss harmless:
//
//   - A blob is durable before its name is written. Snapshots are flushed, and take a safe point of their own, after the
//     state that becomes the metadata's safe point is fixed and before it is one. Either way a safe point never names
//     less than a whole thing.
//   - A backend destroys a file only after a safe point that no longer names it (the barrier).
//   - After going back to a safe point the sequence numbers in backend names are advanced, so that files the metadata
//     has forgotten are never met again; the next collection removes them.
//
// What must not be lost even to a power loss is followed by Host().Sync.
//
// # Lifecycle
//
// Open takes the lock, opens the stores and starts the collector; Serve listens; Close ends in the order listener,
// collector, database, snapshotter, lock. Several hosts with different directories may be open in one process.
//
// # Garbage collection
//
// containerd's collector does the work; this package decides when: soon after something was deleted, and so that the
// pauses for writers stay a small share of the time (GC).
//
// # What it does not do
//
// It runs no containers and has no tasks, sandboxes, CRI or mount manager, and it does not check for an OCI runtime.
package embedded
