// Package image is the source of base images. It promises that what comes out
// is, byte for byte, what the digests say; that an image whose manifest,
// configuration and layers are in the content store needs no network when it
// is named by digest; and that no manifest, however malformed, makes the
// daemon read without bounds.
//
// # Vocabulary
//
//   - Root: what the reference names: an index or a manifest.
//   - Index: a list of manifests for several platforms; may name indexes.
//   - Manifest: configuration and layers for one platform.
//   - Origin: where blobs come from: a registry, or for the scheme oci-layout
//     a directory of the client.
//   - Resolve mode: "pull" asks the registry; "local" prefers an image that
//     containerd's image store has for the platform; "default" asks the
//     registry and falls back to the image store if that fails.
//
// # Scenario
//
// Key asks the registry what a tag names, and reads index, manifest and
// configuration unless they are there. Its definition is the root with the
// platform, its content the chain of the layers, so that equal layers are
// equal whatever image they are from. Fetch hands the layers to the ref store,
// which asks for those it does not have, several at a time, and unpacks them
// in order as they arrive. What Key read stays for at least a quarter of an
// hour under a lease of its own; after Fetch the ref owns it.
//
// # Limits
//
// A manifest or index has at most 4 MiB, a configuration 8 MiB. Indexes nest
// three deep, and at most 32 documents are read for one image.
//
// # Concurrency
//
// Source is safe for concurrent use, calls on one instance are sequential. A
// blob that several want is transferred once.
//
// # What it does not do
//
// It keeps nothing of its own, does not name images in the image store, and
// leaves platforms that the machine cannot run to whoever asked for them.
package image
