// Package blob is the source of single blobs of registries and of layouts of
// clients. It promises that the file it makes has, byte for byte, what the
// digest says, and that a blob whose layer is known needs no network.
//
// # Vocabulary
//
//   - Locator: "docker-image+blob://repository@digest", or
//     "oci-layout+blob://name@digest" with the name of the client's store.
//   - Blob: bytes with a digest: a layer, a configuration, a git bundle.
//
// # Scenario
//
// A key follows from the locator alone. Fetch opens the blob where the locator
// says and writes it into a layer of its own, as one file, checked against the
// digest before the layer is committed. Others who want the bytes and no layer
// use Open directly.
//
// # Concurrency
//
// Source is safe for concurrent use, calls on one instance are sequential.
//
// # What it does not do
//
// It unpacks nothing, keeps nothing of its own, and knows no tags.
package blob
