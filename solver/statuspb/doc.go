// Package statuspb translates the events of a build to the wire's status
// messages and back. It loses nothing that clients show.
package statuspb
