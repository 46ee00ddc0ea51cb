// Package inode works on files through directory handles.
//
// Promise: no function follows a symbolic link in the name it is given, and no
// name may hold a slash, so whatever sits in an untrusted tree, an operation
// touches an entry of exactly the directory whose handle was passed. This
// stops every attack that makes a privileged walker leave its root: planted
// links, "..", and directories swapped for links while it runs.
//
// # Vocabulary
//
// A handle is a directory's descriptor, opened with O_DIRECTORY. A name is one
// path component. Attributes of entries that cannot be opened (symbolic links,
// devices) are reached through the handle's magic link in /proc, which is
// resolved by the kernel to the handle itself and not by path.
//
// # Lifecycle and concurrency
//
// Handles are plain integers; who opens one closes it. Functions are safe for
// concurrent use as far as the kernel is.
//
// # What it does not do
//
// It interprets nothing: whiteouts and opaque directories are package
// overlay's, tar headers are those of apply and diff.
package inode
