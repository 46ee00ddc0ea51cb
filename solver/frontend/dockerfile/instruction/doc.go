// Package instruction gives every Dockerfile instruction a type.
//
// The promise: Parse turns the raw instructions of package syntax into stages
// of typed instructions, checks everything that can be checked without knowing
// variables or images, and words its errors the way Dockerfile users know them,
// each with the lines it is about.
//
// Vocabulary. A Stage is a FROM and the instructions below it. Global arguments
// are the ARGs above the first FROM. Expandable instructions return a copy of
// themselves with variables replaced; the parsed instruction never changes, so
// one parsed File serves any number of platforms at the same time.
//
// Each instruction has a file of its own, holding its type, its parser and its
// expansion. RUN's mounts are read in two steps, because all of a mount but the
// stage it comes from may depend on variables: the first step is part of Parse,
// the second of expansion.
//
// The package does not know how to build anything; that is package lower.
package instruction
