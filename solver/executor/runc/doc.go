// Package runc runs build containers with an OCI runtime: runc, or crun. It
// promises that a process sees only what its container was given, that
// nothing of a container is left when Run returns, and that what a crashed
// daemon left behind is removed at the next start.
//
// # How a container is made
//
// A bundle directory takes the mounted root file system, one directory for
// each other mount, and the OCI configuration. Paths inside mounts (selectors)
// are resolved by the kernel beneath the mount and pinned as a mount of their
// own, so that another process that changes the mount meanwhile cannot lead
// out of it. Mount points that the runtime has to create in the root are
// removed again afterwards.
//
// # Leftovers
//
// Everything lives below one directory. New ends the containers that are
// registered there, unmounts what is mounted there and removes the bundles.
//
// # Networks
//
// "host" is the daemon's network, "none" a namespace with nothing but
// loopback. The sandbox network is what Config.Networks gives. A container
// behind the recording proxy is in a namespace of the proxy's; its certificate
// is in the container's bundle of certificates as long as the container is
// there. /etc/resolv.conf is made for each container from what the host says
// at that time.
package runc
