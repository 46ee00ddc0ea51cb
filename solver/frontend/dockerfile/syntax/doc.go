// Package syntax splits a Dockerfile into instructions without knowing what
// they mean. It promises that Parse takes any bytes, ends quickly, uses memory
// in proportion to its input, and either returns every instruction with the
// lines it stands on or an error that carries the lines to blame.
//
// # Vocabulary
//
//   - directive: a comment of the form `# name = value` in the leading block
//     of comments: syntax, escape, check.
//   - logical line: one or more physical lines joined by continuation
//     characters; comments and blank lines between them are left out.
//   - Instruction: a logical line taken apart into keyword, flags (words
//     starting with two dashes right after the keyword), arguments in the form
//     that the keyword asks for, and the here-documents that follow the line.
//   - place: a set of lines that an error is about. Errors may have several.
//
// Line numbers start at 1. Columns are not tracked: clients underline whole
// lines.
//
// # Scenario
//
//	# escape=`          directive: the escape is a backtick from here on
//	# tool compiles     comment, remembered for the next instruction
//	FROM golang `       a line that goes on
//	  AS tool           FROM with arguments golang, AS, tool on lines 3 and 4
//	RUN <<EOF           RUN whose argument is the mark of a here-document
//	make
//	EOF                 its end; RUN stands on lines 5 to 7
//
// # Errors
//
// Parse fails on what cannot be split. What is split but makes no sense is for
// package instruction to refuse. Texts carry no line; see Places.
//
// # Concurrency
//
// Everything here is a pure function of its input.
//
// # What it does not do
//
// It expands no variables and judges no arguments.
package syntax
