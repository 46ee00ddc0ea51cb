// Package plugin is the composition root: what a builder needs of the containerd around it, and how the parts of the
// builder are put together on top.
//
// # Vocabulary
//
//   - A Host is a containerd seen by a builder. There are three ways to get one: package embedded assembles
//     containerd's services in this process, package register takes them from the containerd that loaded the plugin,
//     and package sidecar reaches them over a socket. The builder cannot tell them apart.
//   - A namespace is containerd's: contexts passed to the members of a Host carry one (namespaces.WithNamespace).
//
// # Lifecycle
//
// Whoever made a Host closes it, after everything that uses it has ended. A Host starts no goroutine of its own.
//
// # Concurrency
//
// All members of a Host may be used from any goroutine; the struct itself is not changed after it was made.
package plugin
