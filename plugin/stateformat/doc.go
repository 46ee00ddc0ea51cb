// Package stateformat says whether this program understands the state in a
// directory. State of a newer program is refused before anything in it is
// opened: what an older program does not know, it would throw away.
//
// # Vocabulary
//
//   - Format: a number for the layout of the whole directory. It is raised only
//     for changes that older programs would misread; what is inside (the cache,
//     containerd's metadata) has versions of its own besides.
//   - Copy: the databases as an older program left them, in the folder
//     format-NUMBER of the state. Who goes back to that program puts them back;
//     layers and blobs do not change. Nobody removes it but its owner.
//
// # Lifecycle
//
// Check comes before everything that opens state, at every start. A directory
// without a number is new, or was another builder's until now. Who
// opens the parts of the state brings them up to date; the copy is there then.
//
// # What it does not do
//
// It locks nothing and changes no database.
package stateformat
