// Package singlefile makes layers that hold one file: what a URL has, or a blob
// of a registry. It promises that nothing that the file is called leads out of
// its layer, that a layer which is not complete and right is not kept, and that
// no set-id programs come from elsewhere.
//
// # Vocabulary
//
//   - Attributes: what a source op says of the file: name, mode, owner.
//   - File: attributes with the time, and how much there may be.
//
// # Lifecycle
//
// A source reads attributes when it opens, and calls Write once it has the
// bytes. The layer is committed only after the caller's check of the digest.
//
// # Concurrency
//
// There is no state: everything may be called from several goroutines.
//
// # What it does not do
//
// It does not know where the bytes come from, and unpacks nothing.
package singlefile
