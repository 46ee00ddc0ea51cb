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
//   - Container: file systems that a frontend had mounted, to run processes in.
//     The first process makes the container, and its end ends the others.
//   - Failed step: what it read and what it had half changed has ids, too, in
//     the error, so that it can be mounted and looked into.
//   - Return: the frontend's last word, a result or an error. The first one
//     counts.
//
// # Lifecycle of containers
//
// NewContainer mounts, ExecProcess starts processes and passes what they read
// and write, ReleaseContainer or the end of the build ends them and unmounts.
// One stream serves many processes; its end, other than that the frontend has
// nothing more to say, ends those that it started. Of each process a frontend
// hears in this order: started, output and its end, how it ended, done.
//
// # Concurrency
//
// All calls may come at once.
package gateway
