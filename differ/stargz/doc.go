// Package stargz writes layers in the eStargz format: a gzip stream that any
// reader unpacks, cut so that single files can be fetched from a registry by
// the table of contents at its end.
//
// Promise: the bytes depend on the tar and the level only, not on the number of
// cores. The tar inside is the one that was written, byte for byte, followed by
// one more entry, the table.
//
// # Vocabulary
//
// The table of contents (TOC) names every file with the offset of its gzip
// member. Who mounts a layer lazily finds the digest of the table in the
// manifest, in the annotation that Result.Annotations returns.
//
// # Lifecycle and concurrency
//
// New, Write, Close, Result. Writer is used by one goroutine and owns another,
// which ends with Close, also after an error.
//
// # What it does not do
//
// It puts no file first: kiln does not know which a container reads. A tar that
// has a table already is refused; Payload finds where the original tar ends.
package stargz
