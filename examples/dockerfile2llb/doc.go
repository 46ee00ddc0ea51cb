// Command dockerfile2llb prints the graph that a Dockerfile becomes, without a
// daemon; for finding out why a build is as it is:
//
//	go run ./examples/dockerfile2llb < Dockerfile | kiln debug dump-llb --dot | dot -Tsvg > graph.svg
//	go run ./examples/dockerfile2llb -resolve < Dockerfile | kiln build --local context=.
//
// It shows that a frontend is a function from a text to a graph: it speaks to a
// builder through one small interface, which this program implements with
// hardly anything behind it. Base images are not asked for their
// configuration unless -resolve is given: their environment, user and working
// directory are then missing from what follows. What an image is configured
// with is no part of a graph; -config writes it to a file.
package main
