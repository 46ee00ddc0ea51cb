// Package file is the LLB file op: it copies, makes and removes files and
// unpacks archives. It promises that no path and no link of either file system
// leads out of it; that a result depends on nothing but the op and the bytes
// of its inputs; and that copying many files costs little more than linking
// them.
//
// # Vocabulary
//
//   - Action: one step of an op. It changes a file system (its input: an input
//     of the op, the result of an earlier action, or nothing) and may read a
//     second one.
//   - Segment: actions that follow each other on the same file system. They
//     share one new layer, which is committed when its result is an output or
//     when somebody else wants it too: a chain that forks.
//   - Tree: an open file system. Every file in it is reached through the handle
//     of its directory and a single name, and links are followed by this
//     package, component by component, never by the kernel.
//   - Place: what a path leads to: the deepest directory that is there, and the
//     names that are not.
//
// # Two ways to write
//
// A mounted tree is the segment's file system as a container would see it. A
// layered tree is the new layer's own directory beside a read-only view of what
// lies below: directories are copied up as they are needed, and a file that is
// copied without a change becomes one more name of the file in the layer it
// comes from. Whatever would need a mark in the layer (a removal, a directory in
// place of a file) ends the layered attempt, and the op runs again on a mounted
// tree. Both ways give the same files; a test with random trees says so.
//
// A file of a layered tree may be shared with another layer. Nothing here
// writes into a file that it did not make in the same step.
//
// # Lifecycle and concurrency
//
// An Op is immutable. A run owns its layers, trees and holds until it returns;
// an error leaves nothing behind. Files of one directory are copied by two
// goroutines.
//
// # What it does not do
//
// It does not read the client's files (sources do), does not mount anything
// itself, and reports no progress beyond its vertex.
package file
