// Package linked is a content store whose blobs may consist of other files: an
// uncompressed layer is there as soon as its digest is known, without a second
// copy of the bytes that are in the layer's directory anyway.
//
// Promise: a linked blob is a blob like any other. It has the digest it is
// named after, can be read at any offset, survives the process at any instant,
// and depends on nothing outside this store: not on the snapshot whose files it
// shares, nor on anybody's labels.
//
// # Vocabulary
//
//   - Literal bytes: those that the store keeps itself: the headers of the tar,
//     its padding, and small files.
//   - Link: a hard link, in the store, to a larger file of the layer. Files of
//     committed layers do not change, and as long as there is one name their
//     bytes stay, so the snapshot may go before the blob.
//   - Table: the order of literal bytes and links, and their lengths.
//
// # Form on disk
//
// A blob is the folder sha256/<hex> with the files "bytes" (all literal bytes),
// "table", and links named "0", "1" and so on. A table holds
//
//	magic     4 bytes "KLLB"
//	version   1 byte, 1
//	size      of the blob, unsigned varint like all that follows
//	links     their number
//	pairs     for each link: literal bytes before it, its length
//	rest      literal bytes behind the last link
//	checksum  4 bytes, little-endian CRC-32C of all that precedes
//
// # Lifecycle
//
// New starts a Writer. What is written to it is hashed; for a file that Link
// accepts the next bytes are hashed and not stored. Commit names the blob, by
// renaming its folder, so that a blob is whole or not there. Until Close, a
// committed blob is not deleted: that is the time for making it known to
// containerd's metadata layer, which finds it in the store and shares it.
// Folders of writers that a crash cut off go with the next Wrap.
//
// # Concurrency
//
// A Store is safe for concurrent use, so is a reader; a Writer belongs to one
// goroutine. A blob with open readers is not deleted; the collector comes by
// again.
//
// # What it does not do
//
// It does not flush files; Sync does, for all that was committed before. It
// does not look whether the bytes behind a link are still those that were
// hashed, beyond their number: like any store it trusts its disk.
package linked
