// Package build answers the build endpoints of the Engine API: /build in both
// of its versions, /build/cancel and /build/prune. It promises that whatever
// an unmodified client posts is built by the same solver as every other build,
// and told in the form that the client asked for.
//
// # Vocabulary
//
//   - Classic: version 1. The answer is the text of the steps of the Dockerfile,
//     in their order, although steps run side by side.
//   - Version 2: the answer is the events of the build, for a client that has a
//     session open beside the request.
//   - Visitor: a session within the daemon, for clients that have none. It
//     offers the posted context as a directory, so that the ignore file and
//     content keys work as ever, and the credentials of the request's header.
//   - Plan: the instructions of the Dockerfile that the build will go through,
//     with the names of the steps they become.
//   - Rendezvous: a request that brings a context for another one.
//
// # Lifecycle
//
// A build ends with its request: a client that goes away, or asks for it by the
// build's id, cancels it. The posted context is gone when the request ends.
//
// # What it does not do
//
// It decides nothing about builds; package solver/build does. It does not
// run containers or know Windows.
package build
