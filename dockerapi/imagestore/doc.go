// Package imagestore is a containerd's images as an engine sees them: names,
// ids and what belongs to them; where they come from and where they go. It
// promises that an image which has a name is there whole or says what is
// missing, that a failed transfer leaves nothing behind, and that no archive,
// registry or name, however hostile, makes the daemon read or keep without
// bounds.
//
// # Vocabulary
//
//   - Name: what an image is called in containerd's image store, one entry
//     each. Several names may have one target.
//   - Target: the index or manifest that a name leads to. Its digest is the id
//     of the image.
//   - Dangling: an image without a name of its own. Its entry is called
//     "moby-dangling@" and its id, which keeps it from being collected.
//   - Variant: one manifest of an image: for a platform, or an attestation,
//     which is no image. Not all variants of an index need be here.
//   - Familiar: a name without the parts that everybody leaves out
//     ("docker.io/library/").
//
// # Lifecycle
//
// A Store has no state but its configuration. What an operation brings in is
// under a lease of its own until a name leads to it; the lease goes with the
// operation, and with it what was brought in vain.
//
// # Concurrency
//
// Store is safe for concurrent use. Names may change at any time, also by
// others; an operation works on what a name led to when it began.
//
// # What it does not do
//
// It builds nothing and knows nothing of HTTP.
package imagestore
