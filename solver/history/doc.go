// Package history remembers builds: what was asked, how it ended, and what was
// said meanwhile. It promises that a record once listed stays until it is
// older than the limits allow or somebody deletes it, that pinned records
// stay, and that a crash loses at most the builds that were running.
//
// # Vocabulary
//
//   - Record: one build, in the wire's form.
//   - Log: the build's events, as length-prefixed status messages (uint32
//     little endian, then the message), the form in which clients read them.
//   - Listener: a client that follows changes.
//
// # Storage
//
// Records are in a bolt database, logs in files beside it, named by the
// digest of the build's id.
package history
