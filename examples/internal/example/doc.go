// Package example is what the examples share, so that each of them shows only
// what it is about: the components that are built, the flags that say where
// they come from, and printing a graph.
//
// # Vocabulary
//
//   - Component: one program that kiln needs, with its repository and how it is
//     compiled.
//   - Toolchain: the image that has the tools to fetch and compile.
//   - Mirror: a place to get repositories from in place of GitHub.
//
// # What it does not do
//
// It reads no file and asks no network: what an example prints depends on its
// arguments alone, so that the same arguments print the same bytes.
package example
