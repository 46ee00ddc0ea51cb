// Package llb turns a Definition that somebody sent into a verified graph.
//
// Its promise: a Graph that Load returns is complete, acyclic and within
// bounds; every index in every operation points at something; every required
// capability is one we have. Whoever holds a Graph checks nothing again. What
// an operation asks of the world (is there such an image, may it use the
// host's network) is not looked at here.
//
// # Vocabulary
//
//   - Definition: the message. A list of encoded operations, metadata by
//     digest, and source locations by digest.
//   - Pointer: the last operation of a Definition. It has one input and does
//     nothing; that input is the result.
//   - Received digest: SHA-256 of an operation's bytes as they came. Inputs,
//     metadata and locations use it, and so does a client that reports on a
//     vertex.
//   - Digest: SHA-256 of the operation as it will run, after source policy
//     and other rewriting by this daemon, inputs first. Where nothing was
//     rewritten it equals the received one. Progress uses it.
//   - Scratch: the empty file system. As a Definition it has no operations.
//
// # Lifecycle
//
// Load decodes the operations within a budget of elements, follows the pointer
// and puts what it reaches in topological order, validates it, lets the caller
// rewrite sources, computes the digests, and makes the vertices. The platform
// of every operation is filled in and normalised last, outside the digest:
// that way a client can tell its own vertices by their digests.
//
// # Concurrency
//
// A Graph and all it holds are read-only once Load has returned, and then safe
// for any number of readers.
//
// # What it does not do
//
// It computes no cache keys, fetches nothing and does not know how operations
// run. Package compose makes graphs; this package reads them.
package llb
