// Package bucket is the form that caches have in object stores, which know
// names and no manifests: an object for each blob, under its digest, and one
// for each name of the cache, with its config. It promises that a cache gets
// its name when all of its blobs are there, and that blobs in use look young
// to rules that remove old objects.
//
// # Vocabulary
//
//   - Store: an object store, or a part of one.
//   - Age: the time since an object was written or touched. Stores are told to
//     remove old objects; a blob that is exported again is touched when it is
//     older than a limit.
//
// The config says of each layer what a manifest would (remote.LayerInfo).
package bucket
