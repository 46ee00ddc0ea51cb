// Package dockerfile is the Dockerfile frontend: it reads a Dockerfile from
// where the client says, turns it into a graph and an image configuration
// through a frontend.Bridge, and returns both.
//
// The promise: what clients of BuildKit's `dockerfile.v0` send is understood,
// option by option; a file that asks for another frontend (`# syntax=…`) is
// handed to it; errors name the file's lines.
//
// Vocabulary. The definition is the Dockerfile, the main context what COPY
// reads from, a named context anything that stands in for a stage or an image.
// All three may be directories of the client, repositories, downloads or graphs
// that the client hands in. A subrequest asks about a file instead of building
// it.
//
// The work is done elsewhere: package syntax splits the file, instruction gives
// its parts types, lint warns, lower makes the graph. This package knows
// options, contexts and results, one file each.
//
// A Frontend holds no state: requests may run at the same time. Everything that
// one request finds out (contexts, images, the ignore file) is shared by the
// platforms it builds for, and gone with it.
package dockerfile
