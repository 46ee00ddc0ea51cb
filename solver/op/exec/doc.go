// Package exec is the LLB exec op: a process in a container made of the
// vertex's inputs. It promises that the outputs hold what the process left
// behind and nothing else, that a failed process leaves nothing, and that
// equal commands on equal inputs have equal keys in every builder.
//
// # Mounts
//
// A bind mount shows an input; one with an output is a new layer over it that
// is committed when the process succeeds. A cache mount is a writable
// directory that outlives the build, under an id; sharing says what happens
// when two steps want it at once. A tmpfs is memory. A secret is a file in
// memory, asked from the client and never part of a layer or a key. An SSH
// mount is a socket whose other end is with the client: an agent that answers
// for its keys, or any socket that the client gives out. Neither outlives the
// run.
//
// # Limits
//
// Memory and processor time are no part of the vertex either: when two builds
// want the same one with different limits, it gets the looser of each. See
// Join.
//
// # Keys
//
// The key is a digest of the command, the mounts' shape and the platform.
// Inputs that cannot come back out (read-only, or without output) count by
// what they contain; others by how they were made. Proxy settings and
// addresses of extra hosts are no part of the key.
package exec
