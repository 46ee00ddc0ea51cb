//go:build race

package graph

// deep is the length of TestDeepChain's chain; the race detector slows each
// step down tenfold.
const deep = 2_000
