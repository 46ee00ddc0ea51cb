// Package dockerapi answers Docker's Engine API for what a builder has: builds,
// images, sessions and the build cache. It promises that clients of a Docker
// engine (the docker command, compose, the libraries) build here as they do
// there, with the same statuses, streams and error texts, and that what a
// builder does not have is told in one sentence.
//
// # Vocabulary
//
//   - Engine: what the API is the door to. The builder, its image store and its
//     registries stand behind interfaces of this package's parts.
//   - Classic build: a tar of the context posted to /build, answered with the
//     text of the steps. Here the concurrent solver runs it.
//   - Hijack: an HTTP/1 connection that becomes something else after an
//     upgrade: a gRPC server (/grpc) or a client's session (/session).
//
// # Parts
//
// route has versions, paths, errors and streams; build the build endpoints, and
// upload the contexts that are posted to them; hijack the upgrades; image the
// image endpoints, over imagestore; system what tells about the daemon, and
// event what happened there.
//
// # Limits
//
// Headers have 30 s and 2 MiB; a context may pause for five minutes, and is
// bounded in entries and bytes (see upload.Limits). HTTP/2 on the API's own
// addresses is gRPC's: the connection goes to whoever serves Control.
//
// The facts come from the published API (https://docs.docker.com/reference/api/engine/).
package dockerapi
