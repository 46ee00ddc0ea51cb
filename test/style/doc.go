// Package style measures the tree against the bar of the house style and fails
// with the worst offenders.
//
// Promise: every limit stands in bar.go as a number with its meaning; the test
// of this package measures all Go files below the repository root and prints,
// per limit, the places farthest beyond it. What is measured is the text
// itself: nothing has to compile for it.
//
// Vocabulary. A file is a *.go file that is not generated; generated files
// (those whose head says "Code generated … DO NOT EDIT.") are left out
// everywhere. Production files are all but *_test.go. A percentile is taken by
// nearest rank over production code; a maximum holds for tests as well. The
// cyclomatic number of a function is one plus its branches: if, for, case,
// select case, && and ||, closures included.
//
// The walk covers nested modules too, skips folders called testdata and those
// starting with a dot or an underscore, and keeps no state.
package style
