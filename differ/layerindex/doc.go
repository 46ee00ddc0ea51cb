// Package layerindex records what one layer holds, path by path, with the
// digests needed to answer questions about its content without reading it.
//
// Promise: an Index is a pure function of the layer's file tree as a build sees
// it (modification times are recorded but enter no digest). Encoding is
// canonical: equal indexes have equal bytes, and Decode accepts nothing but
// what Encode writes.
//
// # Vocabulary
//
// An Entry describes one path of the layer. Paths are slash-separated and
// relative; the layer's root directory is the empty path. Entries are sorted
// by path component ("a/b" before "a-b"), which is depth-first order.
//
// A whiteout entry says that the path of a lower layer is gone. An opaque
// directory hides everything lower layers hold below it.
//
// Content is the plain SHA-256 of a regular file's bytes. Digest is the entry
// digest: SHA-256 over the header followed by the bytes. Its header is the
// version 1 layout of Docker's legacy tar sum, which is what remote build
// caches are keyed by (wire format fact): the strings "name", "mode", "uid",
// "gid", "size", "typeflag", "linkname", "uname", "gname", "devmajor" and
// "devminor", each directly followed by its value (numbers in decimal), then
// every extended attribute's key and value in key order. The name, uname and
// gname are empty; mode holds permission, setuid, setgid and sticky bits, and
// is 0777 for symbolic links; size is zero but for regular files; hard links are
// described as the file they name, with typeflag '0' and no linkname.
// Only security.capability and attributes outside the security. and system.
// name spaces take part. Modification time does not.
//
// # Format
//
// All numbers are unsigned LEB128 varints unless said otherwise.
//
//	magic     4 bytes "KLIX"
//	version   1 byte, 1
//	count     number of entries
//	entries   count times, strictly ascending:
//	  shared    bytes the path has in common with the previous entry's path
//	  suffix    length, then the remaining bytes of the path
//	  kind      1 byte, the Kind constants
//	  flags     1 byte: 1 opaque, 2 has attributes, 4 has link name
//	  -- a whiteout ends here --
//	  mode      low 12 bits
//	  uid gid
//	  mtime     nanoseconds since 1970, zigzag varint
//	  size      regular files only
//	  link      length and bytes, if flagged: a symbolic link's target, or for
//	            a regular file the path of its first name in this layer
//	  device    major, minor; character and block devices only
//	  xattrs    if flagged: count, then key and value, each length and bytes,
//	            in ascending key order
//	  digest    32 bytes
//	  content   32 bytes, regular files of non-zero size only
//	checksum  4 bytes, little-endian CRC-32C of all that precedes
//
// # Lifecycle and concurrency
//
// A Builder collects entries in any order, for one goroutine. The Index it
// yields is immutable and may be shared.
//
// # What it does not do
//
// It does not touch file systems or tars (packages apply and diff fill
// Builders) and knows one layer only: stacking is the caller's look-up from the
// topmost layer down, stopping at whiteouts and opaque directories.
package layerindex
