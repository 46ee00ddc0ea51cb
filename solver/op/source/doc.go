// Package source is the LLB source op: it opens what an identifier names and
// brings its bytes. It promises nothing but the translation: keys and bytes
// are the business of the sources behind the contract in solver/source.
package source
