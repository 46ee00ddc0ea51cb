// Package snapshotter keeps the layers of images and builds as overlay
// directories, behind containerd's snapshots.Snapshotter. Its promises:
//
//   - A committed snapshot is whole. Its files are on disk before its name is,
//     so neither kill -9 nor a power failure leaves a name for less.
//   - Opening takes the same few milliseconds for any amount of state and after
//     any end of the previous process.
//   - Nothing is copied: merging chains and taking the difference between a
//     snapshot and its ancestor stack directories that are already there.
//
// # Vocabulary
//
// A layer is the directory with what one snapshot adds; its number names it on
// disk. A stack is the list of layers below a snapshot, uppermost first. A
// chain is a committed snapshot's layer and its stack. A span is a run of a
// chain (see Span). The trash holds what was removed and not yet deleted. An
// orphan is a file or directory without metadata.
//
// Below the root: fs/<number> is a layer, work/<number> overlay's scratch
// directory of an active one, index/<number> the blob of Indexes, trash/ the
// trash, empty/ the lowest layer of nothing, and metadata.db the truth. All is
// one file system, so files can be linked from layer to layer. The numbers are
// given out here; no path is ever made of a name that a client chose.
//
// # Life of a snapshot
//
//	Prepare ─▶ active ── Commit ─▶ committed ── Remove ─▶ trash ── Cleanup ─▶ gone
//	              └────── Remove ─────────────────────────▶┘
//	View ────▶ view ───── Remove ─▶ gone (it has no layer)
//
// A volatile snapshot (see WithVolatile) is active, or a view, and in addition
// ends with the process.
//
// Each arrow is one transaction of the database, and in every order of events
// the directory exists before the record and outlives it. A crash can therefore
// only leave orphans, and the first Cleanup after a start finds them, while
// everything else already works. Even a transaction that the disk lost
// altogether is harmless: a directory in the way of a reissued number is moved
// to the trash.
//
// A power failure leaves a snapshot that was active with whatever the kernel had
// written of it, at worst without its directory; it can always be removed.
//
// # What durability costs
//
// Commit calls syncfs on the root before it writes the record. That is one
// flush for the layer, however many files it has, where fsync on each would be
// one per file; commits that meet share it; and unmounting an overlay has
// usually just written the same data, so there is little left to do. What it
// also flushes is everybody else's dirty data on that file system: give kiln
// one of its own if others write much. The database then needs its own flushes
// for each transaction. Config switches off either, at a price that is written
// there.
//
// With Config.DeferSync all of these wait for Sync, which makes one group of
// whatever there is. The database is one of safe points (package safebolt): its
// next safe point is fixed, then layers are flushed, then it counts; and Remove
// takes one before it lets go of files. So a power failure goes back to a state
// all names of which stand for whole layers, and kill -9 loses nothing. It is
// for a caller whose own names for snapshots become durable after Sync.
//
// WithVolatile saves the flushes of everything before Commit: those of the
// database for a record that nobody needs after a crash, and those that overlay
// does for itself. The latter is safe here for a reason that does not hold in
// general. The layer is written out by Commit, through syncfs, which does not
// ask overlay; this process keeps the file system open from Prepare to Commit,
// so that no failed write-back goes unreported (and one that is reported fails
// every layer that was open at the time); and when the process ends, the
// snapshot is gone with its memory, so nobody can take up a layer of which it
// is not certain that it was written.
//
// # Mounting
//
// Mounts are ordinary overlay and bind mounts for mount(2); containerd's
// mount.All handles a few hundred layers. Mount in this package handles
// MaxLayers of them through the new mount API. In a user namespace the option
// userxattr is added, and nothing here creates device nodes. The package mounts
// nothing on its own account.
//
// A layer made on top of others has whiteouts. Overlay hides them when listing
// a directory that lies in several layers, or that carries the attribute
// overlay.origin, which overlay gives to every directory it copies up. Code
// that writes whiteouts into a layer directly must set that attribute (empty
// will do) on the directory, or a span without the layers below lists names
// that do not exist.
//
// # Concurrency
//
// All methods may be called at any time from any goroutine. There is one write
// transaction at a time, and slow work, such as counting, flushing and
// deleting, happens outside of it.
//
// # What it does not do
//
// It does not flatten chains, apply or compare layers, enforce sizes
// (containerd.io/snapshot/max-size is ignored, as the contract allows), fetch
// lazily, or look into the blobs it keeps for others.
package snapshotter
