// Package dockerfile is the Dockerfile frontend: it reads a Dockerfile from
// where the client says, turns it into a graph and an image configuration
// through a frontend.Bridge, and returns both. It promises that what clients of
// BuildKit's dockerfile.v0 send is understood, option by option, that a file
// which asks for another frontend is handed to it, and that errors name the
// file's lines.
//
// # Vocabulary
//
//   - definition: the Dockerfile.
//   - main context: what COPY reads from.
//   - named context: anything that stands in for a stage or an image.
//   - subrequest: a question about a file in place of a build.
//
// Definition and contexts may be directories of the client, repositories,
// downloads, or graphs that the client hands in.
//
// # Scenario
//
// The options are read and checked. The main context is opened as far as
// needed to read the Dockerfile through the bridge. If the file names another
// frontend, the request goes there. Else the file is parsed once and lowered
// for every platform at the same time; the graphs are handed to the bridge and
// the answers put together under the names that exporters expect.
//
// The work is done elsewhere: package syntax splits the file, instruction gives
// its parts types, shell expands variables, lint warns, lower makes the graph.
// This package knows options, contexts and results, one file each.
//
// # Errors
//
// Errors about the file are *solver.SourceError, one around the other if they
// concern several places; unknown subrequests are *solver.SubrequestError,
// missing capabilities *solver.CapError.
//
// # Concurrency
//
// A Frontend holds no state: requests may run at the same time. What one
// request finds out (contexts, images, the ignore file) is shared by the
// platforms it builds for, and gone with it.
//
// # What it does not do
//
// It makes no attestations: the builder describes what it built.
package dockerfile
