// Package shell expands variables and splits words the way Dockerfiles do.
//
// The promise: given the same text, variables and options the answer is the
// same, it is bounded (a word never grows beyond MaxOutput bytes, whatever the
// variables hold), and every variable that was looked at is reported, found or
// not, so that a caller can warn about undefined ones.
//
// Vocabulary. A word is text with variable references, quotes and escapes. A
// reference is $name, ${name}, or ${name} with a modifier:
//
//	${v:-w} ${v-w}    w when v is unset (with the colon: or empty)
//	${v:+w} ${v+w}    w when v is set (with the colon: and not empty)
//	${v:?m} ${v?m}    an error with text m when v is unset (with the colon: or empty)
//	${v#p} ${v##p}    v without the shortest or longest prefix that matches pattern p
//	${v%p} ${v%%p}    the same for suffixes
//	${v/p/r} ${v//p/r}  v with the first or every match of p replaced
//
// Patterns know * and ? and the escape; nothing else is special. A name may
// also be one special character ($$, $@) or digits. Single quotes suppress
// everything, double quotes keep blanks but expand.
//
// Expander values are immutable and safe for concurrent use when the Env given
// to a call is. The package runs no command and touches no file.
package shell
