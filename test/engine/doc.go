// Package engine holds run.sh, behind `make test-engine`: kiln's image, built by
// kiln, under a real Docker engine and Podman.
//
// # What it does
//
// It makes a Debian tree with Debian's docker.io and podman, which the user's
// cache keeps, and runs both in it: buildx's docker-container driver creates,
// builds, loads, pushes, prunes, stops and removes; containers run the image
// without buildx, as root and rootless.
//
// # What it does not do
//
// It is no part of `make test`: it downloads some 200 MB the first time, and
// takes minutes. The engine runs without its own networks and firewall rules,
// in the machine's network.
package engine
