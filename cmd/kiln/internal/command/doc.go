// Package command has the commands of kiln. It promises that every command
// line that works with buildctl works here and prints the same, and that an
// error of any kind ends with exit code 1 and a line "error: ..." on the
// standard error.
//
// # Vocabulary
//
//   - Globals: the flags before the command, which say where the daemon is.
//   - plan: a build as the command line describes it: the request, the
//     services offered beside it, and what is to be done with the response.
//     Both forms of "build", buildctl's and people's, end in one.
//   - IO: the standard streams, so that tests can have their own.
//
// # What it does not do
//
// It solves nothing: it turns flags into calls of the Control API.
package command
