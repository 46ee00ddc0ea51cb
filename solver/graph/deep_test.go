//go:build !race

package graph

// deep is the length of TestDeepChain's chain.
const deep = 10_000
