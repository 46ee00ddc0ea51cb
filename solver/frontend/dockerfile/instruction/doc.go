// Package instruction gives every Dockerfile instruction a type. It promises
// that Parse checks everything that can be checked without knowing variables
// or images, and words its errors the way Dockerfile users know them, each with
// the lines it is about.
//
// # Vocabulary
//
//   - Stage: a FROM and the instructions below it.
//   - global arguments: the ARGs above the first FROM.
//   - Expandable: an instruction that takes variables. Expand returns a copy
//     of it with the variables replaced.
//   - trigger: an instruction that ONBUILD keeps for builds on top of the
//     image.
//
// Each instruction has a file of its own, holding its type, its parser and its
// expansion. RUN's mounts are read in two steps, because all of a mount but the
// stage it comes from may depend on variables: the first step is part of Parse,
// the second of expansion.
//
// # Errors
//
// Parse names the line in the text (`dockerfile parse error on line 3: …`) and
// carries it as a place. The file it returns beside an error holds what came
// before, for lint rules to look at.
//
// # Concurrency
//
// Parsed instructions never change. One parsed File serves any number of
// platforms at the same time.
//
// # What it does not do
//
// It does not know how anything is built; that is package lower.
package instruction
