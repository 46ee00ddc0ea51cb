// Package netns handles Linux network namespaces that are kept alive by files:
// a namespace lives as long as its file is mounted, whether or not a process
// is in it. It promises that no thread of this process is ever left in a
// namespace it was sent to.
//
// # Vocabulary
//
//   - Namespace file: an empty file with a namespace mounted on it. Runtimes
//     join it by its path.
//
// # Lifecycle
//
// Create makes a file and mounts a new namespace on it; Remove undoes both and
// does not mind what is left of them, so that it also serves to clean up after
// a crash. Do runs a function inside.
//
// # Concurrency
//
// Everything may be called from any goroutine. A function that runs in Do must
// not start goroutines that expect to be inside: only its own thread is.
package netns
