// Package compress turns a layer's tar stream into the bytes that are stored
// and sent, and back.
//
// Promise: the bytes a Writer produces depend on the input, the algorithm and
// the level only. They do not depend on the number of cores, on the sizes of
// the Write calls or on timing, so two machines that build the same layer
// push the same blob.
//
// # Vocabulary
//
// An Algorithm names a format. Gzip and Zstd can be written and read,
// Bzip2 and Xz only read (archives that ADD unpacks), Uncompressed is the
// identity.
//
// A block is the unit of parallel work of the gzip writer: a fixed number of
// input bytes, compressed on its own core with the preceding 32 KiB as its
// dictionary. Carrying the dictionary keeps the ratio within half a percent
// of one serial stream; the fixed size makes the result deterministic. Blocks
// are joined by an empty stored block, so the whole is one ordinary gzip
// member which every gunzip reads. The default level has an encoder of its own,
// package deflate; the others are those of a general library.
//
// # Lifecycle
//
// NewWriter, Write, Close. Close writes what is pending and the trailer; it
// does not close the destination. A gzip writer runs one goroutine per block
// in flight, each of which ends by itself, so a writer that is dropped after
// an error leaks nothing. A zstd writer must be closed even after an error.
//
// NewReader sniffs the algorithm by magic number; media types lie often enough
// that they are not asked. The Reader must be closed.
//
// # Concurrency
//
// A Writer or Reader is used by one goroutine at a time. Distinct ones are
// independent.
//
// # What it does not do
//
// It does not bound the size of the decompressed stream: the consumer counts
// (package apply has limits for that). It bounds the memory a hostile stream
// can make a decoder allocate, see Limits.
package compress
