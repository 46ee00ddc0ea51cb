// Package shell expands variables and splits words the way Dockerfiles do. It
// promises that the same text, variables and options give the same answer, that
// the answer is bounded whatever the variables hold, and that every variable
// that was looked at is reported, found or not, so that a caller can warn about
// undefined ones.
//
// # Vocabulary
//
// A word is text with references, quotes and escapes. A reference is $name,
// ${name}, or ${name} with a modifier:
//
//	${v:-w} ${v-w}      w when v is unset (with the colon: or empty)
//	${v:+w} ${v+w}      w when v is set (with the colon: and not empty)
//	${v:?m} ${v?m}      an error with text m when v is unset (or empty)
//	${v#p} ${v##p}      v without the shortest or longest prefix matching p
//	${v%p} ${v%%p}      the same for suffixes
//	${v/p/r} ${v//p/r}  v with the first or every match of p replaced by r
//
// Patterns know *, ? and the escape; nothing else is special. A name may also
// be one special character ($$, $@) or digits. Single quotes suppress
// everything, double quotes keep blanks but expand.
//
// # Errors
//
// Errors name the whole word, as in `failed to process "${x": …`.
//
// # Concurrency
//
// Expander values are immutable and safe for concurrent use if the Env given to
// a call is.
//
// # What it does not do
//
// It runs no command and touches no file: there are no command substitutions
// and no file name patterns.
package shell
