// Package syntax splits a Dockerfile into instructions without knowing what
// they mean.
//
// The promise: Parse takes any bytes, ends quickly, uses memory in proportion
// to its input, and either returns every instruction with the lines it stands
// on, or an error that carries the lines to blame.
//
// Vocabulary. A directive is a comment of the form `# name = value` in the
// leading block of comments (syntax, escape, check). A logical line is one or
// more physical lines joined by continuation characters, comments and blank
// lines between them left out. An Instruction is a logical line taken apart:
// keyword, flags (words starting with two dashes right after the keyword),
// arguments in the form the keyword asks for, and the here-documents that
// follow the line. Variables are not expanded and arguments not judged; that is
// what packages shell and instruction are for.
//
// Line numbers start at 1. Columns are not tracked: clients underline whole
// lines.
//
// Everything here is a pure function of its input and safe for concurrent use.
package syntax
