// Package lint holds the rules that Dockerfiles are checked against while they
// are built.
//
// The promise: a rule only warns, it never changes what is built; each warning
// names its rule, says where it applies and where to read about it; and what a
// user configured (rules skipped, experimental ones wanted, warnings taken as
// errors) is honoured in one place.
//
// Vocabulary. A Rule is a name, a description and a page. A Warning is a rule
// with a message and lines. A Config comes from the file's `check` directive,
// from a build argument, or from a comment above one instruction, which counts
// for that instruction only. Rules on the file's shape run over the parsed file
// (Parsed, Whole); rules that need variables, base images or the order of
// instructions are methods that package lower calls when it gets there.
//
// A Linter belongs to one conversion and is not safe for concurrent use.
package lint
