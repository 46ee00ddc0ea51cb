// Package buildinfo tells which kiln a program is: what the linker stamped,
// else what Go recorded when it built the program.
package buildinfo
