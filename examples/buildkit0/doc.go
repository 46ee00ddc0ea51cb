// Command buildkit0 prints a graph that builds kiln, runc and containerd's shim
// with commands alone: every component is one stage, from cloning to
// compiling, as a first Dockerfile would have it.
//
// It shows the smallest vocabulary: an image, commands, and mounts whose
// outputs are inputs of others. Its weakness is the subject of buildkit1.
package main
