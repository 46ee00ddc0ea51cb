// Package source is the contract of everything that bytes can come from:
// images, local directories of clients, git repositories, URLs. It promises
// that an op asks one thing for all of them: first a key, then the bytes.
//
// # Vocabulary
//
//   - Identifier: what an LLB source op names: scheme, reference, attributes,
//     platform.
//   - Source: knows one or more schemes.
//   - Instance: one identifier, resolved as far as its key needs.
//   - Meta: what a frontend may learn of a source without fetching it.
//
// # Scenario
//
// The source op parses its identifier, picks the Source of the scheme, and
// opens an Instance. Key asks a registry which digest a tag names; if the
// result is known, nothing else happens. Otherwise Fetch pulls and unpacks.
//
// # Concurrency
//
// Sources are safe for concurrent use. Calls on one Instance are sequential.
package source
