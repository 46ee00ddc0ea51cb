// Package trace follows builds with OpenTelemetry spans: one trace goes from
// the client through the daemon into the processes of steps. It promises that
// spans of one trace end up together, in the history record of the build and
// at the exporter that the environment names; that tracing never fails, delays
// or blocks a build; and that work nobody traces pays a look at its context.
//
// # Vocabulary
//
//   - Tracer: makes the daemon's own spans and takes those of others, who send
//     them in OTLP: clients over the control socket, steps over a socket that
//     is mounted into their containers.
//   - Recording: the spans of one trace, kept in memory from Record to Take.
//   - Exporter: where all spans go, besides. FromEnv makes it.
//   - Outside: a trace is followed outside when a client brought it along or
//     there is an exporter. Only then do steps learn of it, because what a step
//     finds in its environment may end up in what it makes.
//
// # Lifecycle
//
// A call that is worth a trace starts one with Enter, or goes on with the
// client's. Everything below calls Start with its context, which does nothing
// if that context is in no trace. Close sends what is left.
//
// # Concurrency
//
// Everything is safe for concurrent use. Exports happen in one goroutine of the
// Tracer's own; when the collector is slow or gone, spans are dropped.
//
// # What it does not do
//
// It has no opinion on what deserves a span, and it does not look into spans of
// others beyond their identifiers and sizes.
package trace
