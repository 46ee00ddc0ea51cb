// Package exampletest is what the tests of the examples share: what an example
// prints is a graph that a builder accepts, and the same each time.
package exampletest
