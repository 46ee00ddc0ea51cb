// Package diagnose lets people look into a running daemon: over HTTP for operators who gave it an address for that, and
// over the control socket for bug reports. It promises that what it tells is bounded and, for bug reports, without
// secrets: values whose names say that they are secret are left out, and so are the user parts of URLs.
//
// # Vocabulary
//
//   - Handler: the HTTP side. Its paths are the predecessor's, so scripts find what they know: /metrics, /debug/pprof,
//     /debug/vars, /debug/requests, /debug/events, /debug/gc, /debug/flight/trace and /debug/cache.
//   - Service: the gRPC side, which sends one file after the other.
//   - Key: a key of the build cache. Lookup follows one down to what it is made of.
//
// # Lifecycle
//
// New comes before the builder, so that a start that hangs can be looked into; SetCache when there is one.
//
// # Concurrency
//
// Everything is safe for concurrent use. Bug reports are made one at a time.
//
// # What it does not do
//
// It guards nothing: whoever reaches the HTTP side sees all of it, and whoever may build may ask for a report.
package diagnose
