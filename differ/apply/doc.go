// Package apply is the only place where kiln unpacks tar archives.
//
// Promise: an archive, however hostile, changes nothing outside the directory
// it is unpacked into, makes nothing there that its consumer did not ask for,
// and costs memory in proportion to the number of its entries. What is refused
// is refused with ErrRefused and an error that names the entry and the attack.
//
// # Vocabulary
//
// Extract unpacks a plain archive (ADD, an upload). Layer applies an image
// layer: names starting with ".wh." are whiteouts, which delete what lower
// layers hold. A Target is where a layer goes: a whole tree, in which whiteouts
// delete files; or the upper directory of an overlay, in which they become
// overlayfs's own marks and lower layers are only looked at.
//
// Both kinds of targets show the same files afterwards. In particular links on
// the way to an entry are followed inside the (merged) tree, and missing parent
// directories are made, or copied up from the lower layers.
//
// # How the checks are arranged
//
// Every file operation goes through a directory handle and a single name
// (package inode), and the way to that handle is walked component by component
// without ever letting the kernel follow a link. There is therefore one
// argument for safety and not one per entry type; clean.go holds the remaining
// checks of header values.
//
// # Lifecycle and concurrency
//
// A call runs on the caller's goroutine, keeps nothing, and expects to be alone
// in its target. If it fails, the target is left half-written for the caller to
// throw away.
//
// # What it does not do
//
// It does not decompress, mount, or sync to disk: package differ does.
package apply
