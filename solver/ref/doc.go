// Package ref gives the results of build steps a life: immutable layered file
// systems over containerd's snapshots and blobs. It promises that a Ref that
// can be had is whole; that what was kept survives kill -9 at any instant, and
// power loss from the next safe point on (package safebolt); that what nobody
// holds and nobody kept leaves nothing behind; and that opening a Store takes
// the same time whatever it contains.
//
// # Vocabulary
//
//   - Ref: one hold on an immutable file system. Every Ref value is released
//     once; the file system lives as long as any hold, any child or any record.
//   - Layer: what a ref adds to its parent. A ref has at most one of its own;
//     Chain lists those a file system is made of, base first.
//   - Stack: a ref without a layer of its own, made of layers of others: the
//     outcome of Merge, and of Diff between a file system and an ancestor.
//   - Portable form: a layer over the same parent that says what a blob of the
//     layer would say and nothing else: no opaque directories, nothing that
//     was touched but not changed. Merge and Diff lay it over other layers in
//     place of one that was not portable as it was. Its files are hard links.
//   - Active: a writable layer that becomes a Ref by Commit or vanishes.
//   - Mutable: an Active with a name that outlives the process: a cache mount.
//   - Record: what refs.db holds for a ref. Only kept refs and what they are
//     made of have one.
//   - Index: the list of a layer's files with their digests. It is made when
//     the layer's bytes pass through and answers ContentDigest.
//
// # Lifecycle
//
// Prepare makes an Active, Commit turns it into a Ref known only to this
// process. Keep writes its record, and those of its ancestors, in one
// transaction; the last Release of a ref that was never kept removes it. Kept
// refs are found again by Get and end in Prune, children before parents.
//
// On containerd's side every ref owns one lease that holds its snapshot and
// blobs. Removing a ref deletes the record first and the lease after it, and
// containerd's collector frees the rest; a crash in between leaves a lease
// without a record, which Sweep finds. A crash before Keep leaves the same.
// Last-used times are collected in memory and written along with other
// records or after a few seconds: a crash loses only those.
//
// # Concurrency
//
// Store, Ref and Active are safe for concurrent use. One mutex guards who
// holds what; it is never held over I/O other than reading a record. Work that several
// callers want at once (unpacking a layer, making a blob or an index) runs
// once; it is cancelled when the last of them is gone.
//
// # What it does not do
//
// It does not decide what is worth keeping or when to prune, does not talk to
// registries, and does not know media types beyond the compressions. Who may
// use a Mutable at a time is the caller's decision.
package ref
