// Package diff finds what one file tree adds to another and writes it as a
// layer.
//
// Promise: the tar of a pair of trees is a function of the trees, byte for byte:
// entries are sorted, numbers are canonical, names of users, access times and
// sub-second times are left out. It is the same tar that containerd's walking
// differ writes, so layers keep their digests whichever of them made them, but
// for two cases in which that one loses a change: a socket in place of a file,
// and new bytes under an unchanged size and time.
//
// # Vocabulary
//
// A Pair names the trees. If it is Layered, the upper tree is a layer directory
// of overlayfs on top of lower ones, and only that directory is read, plus a
// look at each of its names below. Otherwise both are whole trees and both are
// walked. Both ways give the same changes.
//
// A Change is a path that was added, modified or deleted. Directories on the
// way to a change are part of the layer even if nothing about them changed. A
// file is unmodified if type, mode, owner, device, capabilities, size and
// modification time are equal; when a time was rounded to seconds, or the file
// sits in the upper directory of a layered pair, so that somebody had it open
// for writing, the bytes (or the link target) decide.
//
// A layer is portable if its directory says on top of any tree what its tar
// says. Overlayfs leaves others: it copies directories up to change something
// in them that is taken back later, and marks a directory that was made again
// as opaque, which hides whatever is below, not only what was there. Rebase
// makes the portable form of a layer.
//
// # Lifecycle and concurrency
//
// Changes, Write, Rebase and Index run to completion on the caller's goroutine (Index
// hashes on all cores) and keep nothing. The trees must not change meanwhile;
// if they do, the result is an error or a mixture, never a file from outside.
//
// # What it does not do
//
// It neither mounts nor compresses nor stores: package differ does.
package diff
