// Package registry keeps caches in image registries. It promises that a cache
// appears under its name only when all of it is there, and that nothing is
// uploaded that the registry has.
//
// A cache is an artifact (see package artifact) under a tag. Blobs that came
// from another repository of the same registry are mounted from there. The
// credentials are those of the sessions of the build.
package registry
