// Package provenance says how a result was made: from what sources, by what
// request, in which steps. It promises that nothing secret gets into it: of
// secrets and SSH agents the names, of URLs no credentials, of the request
// nothing that only concerns the machine it came from.
//
// # Vocabulary
//
//   - Facts: what is known of one result: requests, materials, steps.
//   - Material: a source as it was resolved: an image or blob with its digest,
//     a repository with its commit, a URL with its checksum.
//   - Request: what a frontend was asked for. A request has a root if another
//     one, the user's, led to it, and inputs if other results went into it.
//   - Predicate: the facts in the form of SLSA provenance, version 1 or 0.2
//     (https://slsa.dev/spec/v1.0/provenance), with the extensions that
//     readers of container images know from the predecessor
//     (https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md).
//   - Mode: max tells everything; min leaves out steps and source texts, and
//     what users write into build arguments and labels.
//
// # What it does not do
//
// It neither signs nor checks anything.
package provenance
