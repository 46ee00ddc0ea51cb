// Package build is the op that reads a build graph from a file of its input
// and solves it: a build within a build. Its promise is that such a graph is
// held to the same rules as the one it came from, and cannot make builds wait
// for each other in a circle.
//
// # Vocabulary
//
//   - Definition: the file, a marshalled graph of at most MaxDefinition bytes.
//   - Depth: how many build ops lead to this one; 0 for a graph that a client
//     or a frontend sent.
//
// # Identity
//
// The result is remembered by the op and by how its input was made. A graph
// that names what can change without it, such as a tag, is not asked again;
// who wants that pins it or makes the op ignore the cache.
//
// The depth is a part of the identity, because equal work is done once, by
// whoever comes first, and others wait. A step can print a graph in which the
// step and its build op occur again; as the inner op is another work than the
// outer, waits only ever go deeper, and MaxDepth ends them.
//
// # What it does not do
//
// It schedules nothing itself: Solve is the builder's. It takes no part in the
// limit of steps that run at once, for it only waits.
package build
