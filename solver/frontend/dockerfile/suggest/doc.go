// Package suggest finds what a user most likely meant by a word that is not
// known.
//
// It promises at most one proposal, and only when the proposal is close: two
// edits away at most. An exact match gives no proposal, since then the word was
// not the mistake.
//
// All functions are pure and safe for concurrent use. The package knows nothing
// of Dockerfiles; callers bring the list of words that would have been
// accepted.
package suggest
