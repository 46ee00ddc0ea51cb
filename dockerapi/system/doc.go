// Package system answers what clients of the Engine API ask about the daemon:
// whether it is there, and which version it is. It promises that clients of a
// Docker engine find what they decide by: the API version, and that builds are
// BuildKit's.
//
// # What it does not do
//
// It has no engine's settings: there are no containers, volumes or swarms.
package system
