// Package policy decides what a build may take its bytes from. It promises
// that no source is fetched or even described before every policy in force has
// seen it in its normal form, and that what is fetched then is exactly what
// was allowed.
//
// # Vocabulary
//
//   - Policy: a list of rules, sent by the client with the build or by a
//     frontend with a graph.
//   - Rule: a selector and an action. ALLOW and DENY decide, the last one that
//     matches wins; CONVERT replaces identifier and attributes.
//   - Set: the policies that apply together; any of them may deny.
//   - Verifier: a program of the client's that is asked about each source and
//     may ask back for what is known of it.
//   - Evaluator: a Set and a Verifier, applied in turn to one source.
//
// # Scenario
//
// A client forbids all images and allows "docker-image://docker.io/library/*".
// A graph names busybox: the first rule denies it, the second allows it again.
// A CONVERT rule then pins it to a digest. What it became is looked at from
// the beginning, by all policies, until nothing changes any more or maxRounds
// is reached. Then the verifier sees it.
//
// # Bounds
//
// Policies come from strangers: their number, the length of their patterns and
// of what a CONVERT makes are bounded. Patterns are matched in linear time.
//
// # Concurrency
//
// A Set is immutable. An Evaluator is safe for concurrent use if its functions
// are; one source belongs to one call.
//
// # What it does not do
//
// It fetches nothing, keeps nothing between calls, and knows no session: the
// build hands it ready-made functions.
package policy
