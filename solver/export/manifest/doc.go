// Package manifest assembles images: it turns an evaluated result into layers,
// configurations, manifests and, for several platforms, an index, all as blobs
// in containerd's content store. It promises that equal results and attributes
// give equal digests, on every machine and day; that what a configuration says
// and the builder does not understand is handed on; and that whoever keeps the
// root blob keeps the whole image.
//
// # Vocabulary
//
//   - Options: the attributes that decide what an image looks like, shared by
//     all exporters of images.
//   - Family: the set of media types, OCI's or Docker's.
//   - Annotations: free texts on manifests and indexes, possibly for one
//     platform only.
//   - Assembler: makes images. Image: what it made.
//
// # Lifecycle
//
// ParseOptions reads attributes before a build; Finish completes them with what
// the result says. Assemble then writes the blobs under the lease in its
// context, children before parents, each parent with labels that keep its
// children from containerd's collector.
//
// # Concurrency
//
// An Assembler may be used from any goroutine. Options and Images are values
// that nobody changes after they are made.
//
// # What it does not do
//
// It does not name, push, unpack or pack images, and it does not write
// attestations: a source that has any to be attached is refused with an error
// of kind NotImplemented.
package manifest
