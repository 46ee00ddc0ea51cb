// Package image exports a result as an image in containerd's image store and
// pushes it to registries. It promises that a name in the store always names a
// complete image, that an unpacked image can be run without reading a layer
// again, and that a push uploads nothing the registry has.
//
// # Vocabulary
//
//   - Name: under what an image is found, in the store and at a registry.
//   - Dangling name: a prefix and the digest, for images that have no other.
//   - Unpacked: the snapshot of the image is there under the name by which
//     containerd looks for it, the chain ID of its layers.
//
// # Lifecycle
//
// Export assembles the blobs, names the image, unpacks it, and returns; what
// it returns as Finalize pushes. A lease keeps the blobs until then; afterwards
// the names do, and an image without a name goes with the next collection.
//
// # Layers
//
// Without a push and without a wish for a compression, layers are uncompressed:
// where the content store can share bytes with snapshots (differ/linked), they
// cost one hash. Otherwise they are compressed, with gzip if nothing is named.
// Ahead does so for the layers of steps that are done while later steps run, and
// uploads what is to be pushed: blobs at a registry that no manifest names yet.
//
// # Unpacking
//
// Layers of base images have their snapshots under the right name already.
// Those of steps have snapshots under the names of refs, and containerd cannot
// rename. If the snapshotter tells where a layer's files are, the snapshot under
// the right name gets hard links to them: one call for each file and no bytes.
// It is a layer like all others, so that whoever takes it for that of a pulled
// image, as solver/ref does, is right. (An empty snapshot on top of the step's
// would cost nothing at all, but it would have the name of a layer and not its
// files.) Where links do not work the layer's blob is applied, as after a pull.
//
// # Concurrency
//
// An Exporter may be used from any goroutine; so may its instances.
//
// # What it does not do
//
// It does not remove old images: a name that moves on leaves what it named to
// containerd's collector.
package image
