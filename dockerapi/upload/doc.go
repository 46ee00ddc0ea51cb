// Package upload takes the archive that a client sends as the context of a
// build, and shows it to the build as a directory tree. It promises that
// nothing in an archive is ever written under a name that the archive chose,
// that memory and disk for it are bounded, and that nothing of it is left when
// it is closed, or when the process dies.
//
// # Vocabulary
//
//   - Context: an archive that was taken in: its entries in memory, the bytes of
//     its files one behind the other in a file without a name.
//   - Limits: what one archive may cost.
//
// # Scenario
//
// Receive reads the body to its end: it undoes the compression, whichever it
// is, checks every entry and notes where its bytes are. Tree then shows the
// entries to a session, reduced by the patterns of an ignore file; ReadFile
// reads a Dockerfile without any session. Close gives the disk space back.
//
// # What is refused
//
// Names that lead out of the context; entries below something that is no
// directory, with which an archive could write through a link; device nodes;
// hard links to what is not in the archive. Of several entries with one name
// the last one counts, as it does for tar. Owners are dropped, as clients that
// send directories do: a build must not depend on who runs it.
//
// # What it does not do
//
// It extracts nothing. Files reach a build through the same transfer as the
// directories of other clients.
package upload
