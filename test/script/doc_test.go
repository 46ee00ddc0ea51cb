// Package script_test runs end-to-end scripts: one behaviour each, as a user
// would type it at a shell, with the files the user would have.
//
// Promise: a script that passes describes what kiln does; a new reader can
// learn the commands from testdata. Names are area_detail.
//
// A script is a txtar archive. Its first part is commands of testscript; the
// rest are files, which stand in the directory the commands run in. kiln and
// kilnd are in PATH, and kiln reaches a daemon that all scripts share; its
// Docker Hub is a local registry that has busybox (one platform) and
// busybox:multi (two). $REGISTRY is that registry's address. Repositories
// in $GITROOT are served at $GIT; the programs of examples/ are in PATH and in
// $EXAMPLES. The command `daemon ARGS…` gives the script a daemon of its own.
//
// Scripts run in parallel: images a script pushes carry its name.
package script_test
