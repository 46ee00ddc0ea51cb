// Package network gives the containers of build steps their networks. It
// promises that no two containers are in one network at a time, that nothing
// it makes is left when it is closed, that what a crashed daemon left is
// removed at the next start, and that firewall rules of others are not
// touched.
//
// # Vocabulary
//
//   - Mode: where the networks come from. "host" is the daemon's own network;
//     "cni" is what plugins of the Container Network Interface make of the
//     user's configuration; "bridge" is a bridge of the package's own, with a
//     way out through address translation; "auto" picks one of them.
//   - Space: a network namespace with devices and addresses in it.
//   - Pool: spaces that are made ahead of their use, and those that were used
//     and wait for the next container.
//
// # Lifecycle
//
// Open settles the mode and makes the first space, so that a configuration
// that cannot work is known at the start. A container takes a space from the
// pool and gives it back; the pool keeps as many as the configuration says and
// the others for a minute. Spaces are made and removed behind the builds' back.
// Close removes all.
//
// Each space has a file in a directory of the daemon's own; that is how the
// next start finds what a crash left.
//
// # The bridge
//
// Several daemons may share a bridge. Each holds locks in a file that all see:
// one for the bridge itself, whose last holder removes it, and one for each
// address in use. The kernel lets go of them when a daemon dies. The firewall
// rules are a table of their own: it translates addresses on the way out, and
// keeps others from opening connections to steps.
//
// # Concurrency
//
// All methods are safe for concurrent use.
package network
