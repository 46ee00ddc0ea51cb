// Package stateformat says whether this program understands the state in a
// directory. State of a newer program is refused before anything in it is
// opened: what an older program does not know, it would throw away.
//
// # Vocabulary
//
//   - Format: a number for the layout of the whole directory. It is raised only
//     for changes that older programs would misread; what is inside (the cache,
//     containerd's metadata) has versions of its own besides.
//
// # Lifecycle
//
// Check comes before everything that opens state, at every start. A directory
// without a number is new, or older than the numbers, which is format 1.
//
// # What it does not do
//
// It locks nothing and migrates nothing: there is one format.
package stateformat
