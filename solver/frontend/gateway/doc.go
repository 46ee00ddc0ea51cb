// Package gateway serves the LLBBridge protocol over a frontend.Bridge, so
// that a frontend can run outside the daemon: in a client that drives its own
// build, or in a container. It promises that what such a frontend sends is
// checked as hostile input, and that ids it uses mean something only within
// its own build.
//
// # Vocabulary
//
//   - Session: one frontend's conversation. It owns the refs that its calls
//     made; they are gone when it closes.
//   - Return: the frontend's last word, a result or an error. The first one
//     counts.
//
// # Concurrency
//
// All calls may come at once.
package gateway
