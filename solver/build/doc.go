// Package build runs one build from end to end: it asks a frontend for a
// graph, has the graph solved, and hands the result to exporters. It promises
// that a build ends when its request ends, that nothing of it is held
// afterwards, and that every failure names the step and the place it comes
// from.
//
// # Vocabulary
//
//   - Builder: all builds of one daemon, and what they share.
//   - Request: what one client wants built, already translated from its wire.
//   - Job: one running build: its stream of events, its interest in the graph,
//     its refs.
//   - Gateway build: a build whose frontend is the client itself, which calls
//     the bridge and ends with Return.
//   - Policies: decide about each source of a build before it is fetched or
//     described, once; see package policy.
//   - Failure: what a failed step left, held until the build ends if a frontend
//     outside the daemon may ask for it.
//   - Observer: is told when builds start and end.
//   - Ahead: what exporters do with the layers of steps that are done while
//     later steps run.
//
// # Lifecycle
//
// Solve opens a job, gets a result from the frontend, evaluates it, exports
// it, finalizes the exports, and closes the job. Cancelling its context at any
// point cancels what no other build wants. The events of a build can be read
// from the moment a client asks for them, a little before the build starts,
// until a while after it ended.
//
// # What it does not do
//
// It knows no wire format and no kind of op, source or exporter.
package build
