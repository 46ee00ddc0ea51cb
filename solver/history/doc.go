// Package history remembers builds: what was asked, how it ended, and what was
// said meanwhile. It promises that a record once listed stays until it is
// older than the limits allow or somebody deletes it, that pinned records
// stay, that what a record names can be read, and that a crash loses at most
// the builds that were running or had ended a moment before.
//
// # Vocabulary
//
//   - Record: one build, in the wire's form. Its generation counts changes
//     after the build's end.
//   - Log: the build's events, as length-prefixed status messages (uint32
//     little endian, then the message), the form in which clients read them.
//   - Blob: a log, the whole of an error, a trace, a predicate that attesters
//     have for the record (see package build): provenance. Blobs are in
//     containerd's content store, in a namespace of the history's own; one
//     lease for each record, "ref_" and the build's id, keeps them, together with manifests
//     and configs of what the build made.
//   - Listener: a client that follows changes.
//   - Finalizing: adding the trace, which is complete only a little after the
//     build. It happens after Config.FinalizeAfter, or when a client asks.
//
// # Storage
//
// Records are in a bolt database that names only what is durable: it is synced
// after the blobs it names, see package safebolt. A power loss costs the last
// seconds, never the file; a file that is damaged all the same is set aside.
// Records whose blobs are gone are removed at the next expiry.
//
// # Concurrency
//
// A Store is safe for concurrent use. Records are written behind the end of
// their builds; every question waits for those that are being written. No lock is held while a listener is told
// of something: one that does not keep up is dropped.
//
// # What it does not do
//
// It keeps no layers, and it does not decide who may read what.
package history
