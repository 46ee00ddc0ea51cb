// Package sbom has file systems described by a scanner: an image whose program
// looks at a result and writes a bill of materials. Frontends use it for what
// they build, and builders for what frontends left undescribed. It promises
// that a scan is a step like any other: the same result, scanner and parameters
// give the same vertex, and nothing but the scanner's own directory leaves it.
//
// # Vocabulary
//
//   - Options: which scanner, and what it is told.
//   - Scanner: one that was looked up and can be run.
//   - Target: what is scanned: the core, which is the result itself, and
//     extras, by name: stages and contexts that went into it.
//
// # The scanner's side
//
// It runs the image's entrypoint and command with these variables, which tools
// made for the predecessor know
// (https://github.com/moby/buildkit/blob/master/docs/attestations/sbom-protocol.md):
//
//   - BUILDKIT_SCAN_SOURCE: the directory of the core.
//   - BUILDKIT_SCAN_SOURCE_EXTRAS: a directory that has one for each extra;
//     not set if there are none.
//   - BUILDKIT_SCAN_DESTINATION: where it writes in-toto statements, one in
//     each file, of type https://spdx.dev/Document. The one about the core is
//     named as the core's directory is, "sbom", before its first dot.
//   - BUILDKIT_SCAN_ and a name for each parameter.
//
// What is scanned is read-only; /tmp is the scanner's own.
//
// # What it does not do
//
// It does not read what scanners write; exporters do that.
package sbom
