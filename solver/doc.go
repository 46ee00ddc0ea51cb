// Package solver holds the words that every part of the builder shares: what
// is asked for (Vertex, Edge), what doing it means (Op), how sameness is told
// (Key), what comes out (Result), where results are found again (Cache), and
// what is said meanwhile (Event). It promises to stay free of I/O and of any
// wire or containerd type, so that the scheduler can be tested as pure logic.
//
// # Glossary
//
//   - Vertex: one immutable node of a build graph: an Op and its inputs.
//   - Edge: output number Index of a Vertex; the unit that is asked for.
//   - Op: what a vertex means. It can say its keys, and it can run.
//   - Key: the identity of the value on an edge. Two edges with equal keys
//     hold interchangeable values, whichever build, client or day they come
//     from. A definition key is known before anything ran; a content key
//     replaces what an input was made of by what it contains.
//   - Result: a held value on an edge. The graph never looks inside; in the
//     builder it is a *ref.Ref (a layered file system). A nil Result is the
//     empty file system, "scratch".
//   - Record: a stored Result under a Key.
//   - Env: what a running Op may know of the builds that want it: their client
//     sessions, and where to report progress.
//   - Failure: what is left of a step that failed, kept only for builds whose
//     client may look into it.
//   - Event: one item of the single stream on which progress is reported.
//
// # Life of an edge
//
// Keys of the op and definition keys of the inputs give the edge's definition
// key; if a record is stored under it, nothing below needs to run. Otherwise
// the inputs whose content matters are resolved, which gives the final key; a
// record under that key also ends the search. Only then does the op run, and
// its results are stored under both keys.
//
// # Concurrency
//
// Vertices, keys and events are values: never changed after they are made.
// Op implementations are called from many goroutines.
package solver
