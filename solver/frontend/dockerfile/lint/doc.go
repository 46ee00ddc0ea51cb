// Package lint holds the rules that Dockerfiles are checked against while they
// are built. It promises that a rule only warns and never changes what is
// built, that each warning names its rule, its lines and where to read about
// it, and that what a user configured is honoured in one place.
//
// # Vocabulary
//
//   - Rule: a name, a description and a page.
//   - Warning: a rule with a message and lines.
//   - Config: which rules to skip, which experimental ones to apply, whether
//     warnings are errors. It comes from the file's check directive or from a
//     build argument; a comment above one instruction adds to it for that
//     instruction only.
//
// # Two kinds of rules
//
// Rules on the file's shape run over the parsed file: Parsed looks at single
// instructions, Whole compares them. Rules that need variables, base images or
// the order of instructions are methods that package lower calls when it gets
// there.
//
// # Bounds
//
// A linter passes on MaxWarnings warnings and no more.
//
// # Concurrency
//
// A Linter belongs to one conversion and is not safe for concurrent use.
package lint
