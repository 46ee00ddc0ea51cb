// Command buildkit1 prints a graph that builds the same as buildkit0, with the
// sources split off: they are fetched into a mount, beside the toolchain and
// not on top of it.
//
// It shows that concurrency needs no order to be given: what does not depend on
// each other runs at the same time. All repositories are fetched at once, a
// change of one component leaves the others in the cache, and a new toolchain
// fetches nothing again. Results are put together by merging, without a copy.
package main
