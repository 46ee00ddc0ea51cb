// Package overlay knows how overlayfs keeps a layer in a directory, so that the
// differ can read and write layers without mounting them.
//
// # Vocabulary
//
// A layer directory holds what one layer adds. A whiteout (a character device
// 0:0, or an empty file marked by an attribute) says that the name is gone. An
// opaque directory hides what lower layers hold below it. A View is a pile of
// layer directories, topmost first, as described by a list of mounts. A Stack
// is the merged look at one path of a View.
//
// Overlay's own attributes live under "trusted.overlay." or, for mounts with
// the userxattr option, under "user.overlay."; Attrs tells which. Only that one
// is interpreted: the other is the user's data (a container engine that ran
// inside a build step leaves such files behind).
//
// # What it does not do
//
// It does not follow the redirects and metadata-only copies that overlayfs can
// be configured to make; it finds them and answers ErrNeedsMount, upon which
// the caller lets the kernel merge the layers.
package overlay
