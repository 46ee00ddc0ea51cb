// Package cache keeps records of what was built, so that it is found again. Its
// promise is that of solver.Cache: what Lookup finds was stored under an equal
// key and can be loaded or, if it cannot, is no loss but time.
//
// # Key, value and promise
//
//   - The key is a solver.Key's ID: a digest over what was done, all the way
//     down. Keys of other builds, days and clients are equal when they name
//     interchangeable values, and only then.
//   - The value is a Record: the id of a result, the final key to build further
//     keys on, and when the result was made. The results themselves belong to a
//     Results, which must keep what a record names: Save asks it to before the
//     record becomes visible.
//   - Across crashes: a record may be lost if it is younger than the linger time
//     (milliseconds), and one may survive whose result was just removed. Load
//     then fails and the work is done again. A record is never wrong.
//
// # Vocabulary
//
//   - Record: solver.Record. Many keys may lead to one result.
//   - Structure: what a key is made of: an op's digest, an output number and the
//     ids of the input keys. Structures let Walk follow a key down to its
//     leaves, for cache export and to answer "why did this run again". Looking
//     a key up needs no structure.
//   - Stub: the Key of a Record that came from disk. It has the right ID, which
//     is all that building on it takes, but no Inputs: use Walk.
//   - Volatile keys are kept in memory only and have no structure; Bolt keeps
//     the newest few thousand.
//
// # Stores
//
// Memory keeps everything in maps. Bolt keeps it in one bbolt file and answers
// from memory what is not written yet: a writer goroutine groups everything
// that was saved within the linger time into one synced transaction, so a Save
// costs microseconds and a busy build some tens of syncs a second. The file is
// always synced in order, so a power loss costs records, never the file.
//
// A file that cannot be read is set aside as <path>.corrupt (the last one is
// kept) and an empty one is begun: a cache must never keep a builder from
// starting. A file of a newer format is an error that says so, because starting
// empty would throw away what the newer version needs.
//
// # Concurrency
//
// Stores are safe for concurrent use. A Bolt must be closed.
//
// # What it does not do
//
// It does not decide what is worth keeping: whoever removes a result calls
// Forget. It does not talk to registries.
package cache
