// Command buildkit2 prints a graph that builds the same as buildkit1, with git
// sources in place of commands that run git.
//
// It shows what a source knows that a command does not: the builder asks the
// repository which commit a branch means, and only then decides whether
// anything has to run. A branch that has moved is built anew; one that has not
// costs one question. No image with git is needed.
package main
