// Package system answers what clients of the Engine API ask about the daemon
// and what a builder does not have. It promises that clients of a Docker engine
// find what they decide by: the API version, that builds are BuildKit's, how
// images are stored; and that a question about a container, volume, network or
// swarm gets the answer of an engine without any.
//
// # Vocabulary
//
//   - Listing: everything of one kind; empty for what a builder does not have.
//   - Look-up: one thing by name; not found for what a builder does not have.
//   - Refusal: the answer to a request that only an engine could carry out.
//
// # Concurrency
//
// Server is safe for concurrent use.
//
// # What it does not do
//
// It has no engine's settings, and builds and images are other packages'.
package system
