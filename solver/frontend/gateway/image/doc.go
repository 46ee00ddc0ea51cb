// Package image runs frontends that come as container images: programs that
// read what people wrote and talk to the builder over their standard streams.
// It promises that such a program gets nothing but its options, the graphs it
// was called with and the bridge; that it is gone when the call returns; and
// that what it says last, or fails with, is told to whoever called it.
//
// # Vocabulary
//
//   - Source: which frontend is meant, as an image reference. A named context
//     of the request may stand in for it.
//   - Capability: something about its request that a frontend must understand.
//     Images list theirs in a label; a request that needs another is refused
//     before anything runs, and clients then ask for less.
//
// # Lifecycle
//
// The image's configuration is looked up, its file system solved like any
// other graph, and a container made of it. The daemon is the gRPC server on the
// program's standard input and output; what it writes to standard error is
// logged, and the last of it is part of the error if the program fails. The
// program ends by Return and exit. One that stays is ended a little later.
//
// # Precedence
//
// An error that was returned counts more than how the program ended, and that
// more than a result that was returned.
//
// # Concurrency
//
// A Frontend has no state: any number of calls may run, nested ones included.
package image
