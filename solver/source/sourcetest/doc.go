// Package sourcetest is what tests of sources stand on: a containerd in the
// test's own process with a ref store on it, and a client that is asked over a
// real session for secrets, uploads and its SSH agent. It promises that all of
// it is gone when the test ends.
//
// # Vocabulary
//
//   - Host: the containerd and the ref store.
//   - Client: the other end of a session.
//   - Env: what a source is told of its build; it keeps the logs.
//
// # Concurrency
//
// Everything may be used from several goroutines after it was made.
//
// # What it does not do
//
// It starts no servers: what a source talks to is the test's own.
package sourcetest
