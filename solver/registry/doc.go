// Package registry reaches image registries on behalf of clients: it resolves
// names, reads blobs and pushes them. It promises that what one client's
// credentials opened is never opened to a client that has not proved to hold
// the same credentials, that no secret appears in an error or a log, that a
// registry which answers slowly, partly or not at all ends in an error that
// names it, and that no registry is asked more at a time than was configured.
//
// # Vocabulary
//
//   - Host: one registry as configured: mirrors, plain HTTP, certificates.
//   - Mirror: a host that is asked first, to read only; the host itself is
//     always asked last.
//   - Repository: one image name, with the sessions that vouch for whoever
//     wants it.
//   - Challenge: what a registry demands of a request without authorization.
//   - Identity: what a token was obtained with: one set of credentials, one
//     authority that a session proved to hold, one session, or nobody.
//   - Authority: a public key that a client derives from its credentials and a
//     salt of this process, so that clients with equal credentials can prove
//     it without showing them.
//
// # Scenario
//
// An image source opens a Repository with the sessions of its build. Resolve
// asks each mirror and then the host. A 401 carries a challenge; the sessions
// are asked, in order, for a token that meets it: clients that fetch tokens
// themselves do so, for others the credentials are asked for and the token is
// fetched here. The token is kept under its identity until shortly before it
// expires. Read then returns blobs, asking again from where a broken
// connection left off. Push sends a blob in one request; if that is cut off, the
// registry is asked how much it has, and gets the rest in pieces.
//
// # Concurrency
//
// All types are safe for concurrent use. Each host has a number of slots for
// blobs, and one more that only manifests and configurations may take, so that
// small requests never wait for large ones. A slot is held until the reader is
// closed; whoever holds one must not wait for another.
//
// # What it does not do
//
// It knows nothing of what manifests contain, keeps no blobs, and does not
// decide which image store or cache is asked before a registry.
package registry
