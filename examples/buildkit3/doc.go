// Command buildkit3 prints a graph that builds the same as buildkit2, where any
// component may come from a directory of the client:
//
//	go run ./examples/buildkit3 --runc=local | kiln build --local runc-src=../runc
//
// It shows that a graph is made by a program: sources are values, and which
// one is used is an if. What is not local stays in the cache.
package main
