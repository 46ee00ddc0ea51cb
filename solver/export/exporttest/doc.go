// Package exporttest is what tests of exporters stand on: a containerd in the
// test's own process with a ref store on it, and a client that takes results
// over a real session. It promises that nothing in it is a stand-in for what an
// exporter touches: blobs, leases, snapshots, the collector and the protocols
// are those of production, and all is gone when the test ends.
//
// # Vocabulary
//
//   - Host: the containerd and the ref store.
//   - Files: what a layer adds, by path.
//   - Client: the other end of a session, with what it received.
//   - Env: what an exporter is told of its build; it keeps the statuses.
//
// # Concurrency
//
// Everything may be used from several goroutines after it was made.
//
// # What it does not do
//
// It does not start registries; test/fixtures does.
package exporttest
