// Package executor is the contract of running a process in a container, and
// what every runtime needs prepared: the OCI spec, the mounts, /etc/hosts and
// resolv.conf, the network. It promises that there is one place through which
// every process of a build starts, so that limits and entitlements checked
// before it hold for all.
//
// # Vocabulary
//
//   - Executor: starts containers with some runtime.
//   - Root, Mount: the container's file system, as containerd mounts.
//   - Process: what to run in it.
//   - Network: "sandbox" (the builder's default), "host" or "none".
//
// # Lifecycle
//
// Run blocks until the process ended and everything it needed is cleaned up;
// cancelling the context kills the process with all its children. After a
// crash of the daemon, New of a runtime removes what the crashed one left.
package executor
