// Package remote shares a build cache with other builders, in the format that
// they all read: a list of records, each saying by which op, of which inputs, a
// result was made, and which layers the result consists of. It promises that
// what is exported can be found again by every builder that computes the same
// digests for ops, that equal caches have equal bytes, and that what is
// imported, which anybody may have written, cannot do more harm than make a
// lookup miss, or offer layers that somebody who trusts the cache asked for.
//
// # Vocabulary
//
//   - Config: the document of a cache: layers and records, linked by index.
//   - Record: one value: the digest of the op and output that made it, and for
//     each input the alternatives it may be, each with a selector.
//   - Alternatives: the ways to name one value. An input counts as it was made
//     or as what it contains; either finds the record.
//   - Result: the layers of a record's value, base first.
//   - Graph: the records of a build before it is decided which of their results
//     a cache gets.
//   - Bundle: a Config with the blobs it names; what a backend writes.
//   - Table: an imported Config with its blobs; what a lookup searches.
//   - Level: imported Tables as a further level of lookup below the builder's
//     own cache (solver.Cache). They are read in the background; the first
//     lookup waits for them.
//   - Backend: where caches are kept; one package each.
//
// # Sameness of digests
//
// A record is named by the sha256 of "<op>@<output>", contents by that of
// "<content>@-1" without a selector. Everything else that tells records apart
// is in their links. So a key of the solver (solver.Key) is found by following
// links from the leaves up: a Table matches a key if the names are equal and
// for each input one of the record's alternatives matches the input's key.
//
// # Scenario
//
// After a build Collect walks the keys of its results in the local cache, and
// what the build imported, and returns a Graph. For each cache to write,
// Graph.Bundle asks which layers each result has and makes a Bundle of those
// that it may have: with mode "min" only results whose layers are all in the
// final one. A Backend's Exporter writes it. The next build elsewhere opens an
// Importer, gets Tables, and its graph asks a Level for keys that the local
// cache lacks. A hit is loaded as a file system of the layers, whose blobs are
// fetched then and not before.
//
// # Concurrency
//
// Tables, Levels and Graphs are safe for concurrent use.
//
// # What it does not do
//
// It keeps nothing: hits are stored in the local cache by whoever loads them.
// It does not verify that an imported record tells the truth; that is what
// trusting a cache means.
package remote
