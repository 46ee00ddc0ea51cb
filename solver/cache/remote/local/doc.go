// Package local keeps caches in a directory of the client, which offers it as a
// content store in its session. It promises that the client learns of a cache,
// from the descriptor in the response, only when all of it was written.
//
// A cache is an artifact (see package artifact) that is found by its digest:
// the client keeps the index of its directory itself.
package local
