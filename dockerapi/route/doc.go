// Package route is what all endpoints of the Engine API share: versions in
// paths, path patterns, statuses of errors, values of parameters, and streams
// of JSON messages. It promises that a handler that returns an error answers
// with the status and body that clients of the API expect, whatever has been
// written before.
//
// # Vocabulary
//
//   - Pattern: a path with at most one name in it ("/images/{name}/json"). Names
//     may contain slashes, as image names do.
//   - Version: the API version of a request; one without a version in its path
//     gets the newest.
//   - Message: one JSON object of a stream. After the first byte of a stream an
//     error is one more message, not a status.
package route
