// Package request reads the values of command line flags: outputs, caches,
// secrets, agents, options. It promises that what it accepts means the same as
// with buildctl, and that an error names the flag and what to write instead.
//
// # Vocabulary
//
//   - Output: an exporter and where its result goes: nowhere (images), a file
//     or a stream, a directory, or a content store in a directory.
//   - Cache: a cache to import or export; those of type local are directories
//     of this machine.
//   - Env: how environment variables are found, so that tests need none.
//
// # What it does not do
//
// It opens no file and no connection: it turns text into values. Whether a
// place exists is found out by who uses it.
package request
