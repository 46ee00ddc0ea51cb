// Command docker-buildx is buildx with the kiln driver in it. Copied to
// ~/.docker/cli-plugins or /usr/libexec/docker/cli-plugins, or linked from
// there, it is what `docker buildx`, `docker build` and `docker compose build`
// run.
//
// Promise: everything but the driver is buildx as its makers have written it,
// of the version that go.mod pins, and that is the version it tells docker and
// compose. `docker-buildx version` names this repository too.
//
// It runs as a plugin, and on its own as `docker-buildx build …`. The exit code
// is buildx's: that of a failed step's kind, not 1 for all.
package main
