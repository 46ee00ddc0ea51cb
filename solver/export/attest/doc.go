// Package attest turns attestations of a result into in-toto statements for
// exporters. It promises that what a frontend or a scanner wrote is read
// within bounds, from inside its own file system only, and that nobody but the
// builder makes statements about how a result was built.
//
// # Vocabulary
//
//   - Attestation: something said about a result, as a frontend, a scanner or
//     the builder left it: a predicate in a file or in memory, or a bundle.
//   - Bundle: a directory of complete statements, one in each file.
//   - Document: one predicate that was read, with what it is about.
//   - Statement: a document bound to subjects, as it is written out
//     (https://github.com/in-toto/attestation, Statement v1).
//   - Subject: a name and the digests of what the statement is about. Those of
//     the result itself are known to the exporter only: images have other ones
//     than files.
//
// # Scenario
//
// An exporter selects what it has a place for, opens it, and asks each
// document for its statement about the subjects that it has just written.
package attest
