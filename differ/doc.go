// Package differ makes layers of mounts and mounts of layers: it implements
// containerd's diff.Comparer and diff.Applier.
//
// Promise: the bytes of a layer pass once. The same pass gives the tar, the
// digest of the stored blob, the digest of the tar (the diff id) and the layer
// index, which answers later questions about the content without a read.
//
// # Vocabulary
//
// Comparing finds what the upper mounts add to the lower ones and stores it as
// a blob. If the upper mounts are the lower ones plus one overlayfs layer, only
// that layer's directory is read; otherwise both are mounted and walked. The
// result is the same.
//
// Applying unpacks a blob into mounts. If they are a writable overlay, its upper
// directory is written directly, whiteouts in overlayfs's own form; otherwise
// the mounts are mounted.
//
// Layer media types are tar, tar+gzip and tar+zstd in the OCI and the Docker
// family. Others answer errdefs.ErrNotImplemented, which makes containerd try
// the next differ. Applying also accepts whatever containerd's stream processors
// turn into a tar, such as encrypted layers.
//
// An uncompressed layer of an overlay directory becomes a linked blob if the
// Config has a place for those: it shares the bytes of larger files with the
// directory (package linked). An eStargz layer is a gzip layer with a table of
// its files (package stargz).
//
// # A scenario
//
// A build step ran in a snapshot. CompareLayer(lower, upper) reads the step's
// upper directory, writes 30 files into a gzip blob and returns its descriptor,
// diff id and index. On another host ApplyLayer(descriptor, mounts) unpacks the
// blob and returns the same index.
//
// # Concurrency
//
// A Differ is safe for concurrent use. Calls share nothing but the content
// store.
//
// # What it does not do
//
// It manages no leases: a blob it writes lives as long as the lease of the
// context or the labels it was given keep it. It knows no snapshots.
package differ
