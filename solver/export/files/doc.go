// Package files exports the files of a result to the client: into a directory,
// or as one tar stream. It promises that equal results give equal tars, and
// that a tar whose stream the client saw end is complete.
//
// # Vocabulary
//
//   - Split: each platform's files go to a directory of their own, named after
//     the platform with "_" for "/". The default for several platforms.
//   - Mode: of a directory. "copy" adds to what is there, each platform in a
//     transfer of its own; "delete" makes the directory equal to the result,
//     for which everything must come in one transfer.
//   - Tree: the files of one platform, as solver/session/files sends them.
//
// # Lifecycle
//
// Export mounts the results, checks that platforms do not overwrite each other
// if they are not split, sends, and unmounts.
//
// # Concurrency
//
// Exporters and their instances may be used from any goroutine.
//
// # What it does not do
//
// It changes nothing at the client itself, and it does not write attestations:
// a source with any that files would show is refused with an error of kind
// NotImplemented.
package files
