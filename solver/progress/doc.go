// Package progress carries what a build says while it runs from the many ops
// that say it to the many people that listen. It promises that a listener who
// comes late is told everything that still matters, that one who reads slowly
// never holds up the work, and that memory is bounded whatever an op prints.
//
// # Vocabulary
//
//   - Stream: everything one build says, with any number of Readers, each at
//     its own place. A Reader starts at the beginning, whenever it is opened.
//   - Hub: everything one vertex says. Builds that share the vertex attach
//     their streams to its hub; one that joins late is told what was said.
//   - Tape: the bounded, compacted memory behind both. Of a status only the
//     last state is kept, of an interval of a vertex only its last event, of
//     logs the newest bytes; a reader that misses logs is told so in place.
//   - Step, Counter, LogWriter: what ops use to speak.
//
// # Lifecycle
//
// A Stream is open from the start of its build until Close. Close completes
// every vertex that started and did not end, with the error "context
// canceled", which is how displays know that a build was broken off; readers
// drain what is left and then get io.EOF.
//
// # Concurrency
//
// All types but LogWriter and Step are safe for concurrent use. Sinks attached
// to a Hub are called with the hub locked, so that replay and live events
// cannot be mixed up: they must be quick and must not call the hub.
//
// # What it does not do
//
// It neither formats for people nor knows any wire form, and it does not decide
// when a vertex starts or ends: solver/graph does.
package progress
