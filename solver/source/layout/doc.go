// Package layout is the source of images that lie in a directory of the
// client, in the OCI image layout. It promises what package image promises,
// with the client's directory in the place of the registry; nothing is read
// from the client that the content store has.
//
// # Vocabulary
//
//   - Store: a layout directory that the client offers in its session, under a
//     name of its choosing.
//
// # Lifecycle and concurrency
//
// As in package image. A client that leaves ends the transfer, and with it the
// build that wanted it.
//
// # What it does not do
//
// Tags mean nothing here: the client looks up the digest in its directory
// before it asks, and a reference without one is refused.
package layout
