// Package export is the contract of everything that a build's result can
// become: an image in containerd's store or a registry, an OCI or Docker
// archive, files in a directory or a tar stream. It promises that a build
// evaluates its result once and hands the same value to every exporter.
//
// # Vocabulary
//
//   - Exporter: one kind of output, by its wire name.
//   - Instance: an exporter with the attributes of one request.
//   - Source: the evaluated result: one ref, or one for each platform, with
//     metadata by name.
//   - Result: the part of a Source that belongs to one platform.
//   - Epoch: the latest time allowed in what is written, SOURCE_DATE_EPOCH.
//   - Finalize: the part that may overlap with cache export, such as a push.
//   - Early: an Instance that can begin with file systems below the result.
//
// # Scenario
//
// Resolve checks the attributes before anything is built. When the result is
// there, Export writes it and returns the response that clients read; a
// returned Finalize is called afterwards, together with those of the others.
package export
