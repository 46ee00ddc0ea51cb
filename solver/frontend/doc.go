// Package frontend is the contract between what people write (a Dockerfile, a
// program that emits LLB) and the builder. A Frontend reads a Request, asks a
// Bridge for sources and solved graphs, and answers with a Result. It promises
// that a frontend needs nothing else: the same frontend code runs inside the
// daemon, in a container behind a gRPC bridge, or in a client.
//
// # Vocabulary
//
//   - Bridge: the builder as a frontend sees it.
//   - Ref: a graph that was handed to the bridge, solved no earlier than needed.
//   - Result: one Ref, or one for each platform, with metadata by name.
//
// # Scenario
//
// The Dockerfile frontend solves a small graph that loads the Dockerfile, reads
// it through the Ref, resolves the base images it names, lowers the stages to
// LLB, solves that, and returns the Ref with the image configuration as
// metadata. Nothing of the last graph has run by then: the builder evaluates it
// when the exporter asks.
//
// # Concurrency
//
// Bridge and Ref are safe for concurrent use; a Result is not.
package frontend
