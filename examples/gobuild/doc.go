// Command gobuild prints a graph that builds a Go package of the client's
// directory "src", by way of a graph that is only made while it builds:
//
//	go run ./examples/gobuild ./cmd/kiln | kiln build --local src=. --output type=local,dest=bin
//
// It shows nested invocation. The first graph compiles this very program and
// runs it with -inner in the sources. There it asks the Go tools which files
// the package needs and prints a second graph, which the builder solves in
// place of the first one's last step. In it modules are fetched by go.mod
// alone, and the compiler gets the files of the package and its dependencies
// and no others: a change anywhere else in the repository compiles nothing.
//
// With -program=local the program comes from the client's directory "program"
// instead of being compiled.
package main
