// Package interop_test drives kilnd with the clients people already have, as
// they are: real buildctl, buildx and ctr, each as a process, against a real
// registry.
//
// Promise: what a test here shows works for a user who has no idea of kiln.
// All tests share one daemon and one registry; each one uses names of its own,
// and the daemon must have gone back to what it was when the test began,
// except for what its cache now holds.
//
// The Debian base and the image built on it are made once and shared: the
// first test that asks pays.
package interop_test
