// Package config reads kilnd.toml, which has the keys of buildkitd.toml, and works out what follows from them.
//
// Its promises: a file that buildkitd accepts is accepted; a key that means nothing is reported with its line and the
// nearest key that does mean something; values are checked when the file is read, not when they are first used.
//
// # Vocabulary
//
// A Duration is Go's notation or a number of seconds. A DiskSpace is a number of bytes, a number with a unit of 1024,
// or a percentage of the disk. A GC policy says what the cache may keep; policies apply in order. A Warning is a key
// that means nothing; what to do about it is the caller's choice.
//
// # Lifecycle and concurrency
//
// A Config is plain data: read once at start, then shared and not changed. Load and Parse may run concurrently.
//
// # What it does not do
//
// It opens no registry, reads no certificate and does not look at the disk: the caller gives the disk's size to
// GCPolicies. Command line flags are the program's affair; they override fields after Load.
package config
