// Package attach has the services that a client offers to the daemon during a
// build. It promises that the daemon gets nothing that was not named on the
// command line, and that nothing the daemon sends is written anywhere but
// where the command line says.
//
// # Vocabulary
//
//   - Dirs: local directories, by name, sent without owners.
//   - Outputs: places for results, by the number of the exporter.
//   - Stores: directories that hold blobs, by id: OCI layouts, local caches.
//   - Credentials, Secrets, Agents: what the user knows or holds.
//   - Upload: a stream that the daemon fetches once, such as an archive from
//     the standard input.
//
// # Lifecycle
//
// A service is made before the build, registered on the server of its
// session, and good for that one build.
//
// # Tokens
//
// Daemons that can do without credentials get tokens: they are fetched here
// and are good for one repository and a few minutes. What such a daemon
// remembers under is an authority, a key that only this user can have.
package attach
