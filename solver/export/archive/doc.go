// Package archive exports a result as an image that the client keeps: a tar in
// the format of OCI's image layout or of docker save, or blobs in a content
// store of the client. It promises that an archive whose stream the client saw
// end is complete, and that nothing of it stays behind in the daemon.
//
// # Vocabulary
//
//   - Format: OCI or Docker. A Docker archive is an OCI layout that also has
//     the file manifest.json; it has room for one platform.
//   - Client store: the content store with the id "export" that a client
//     serves when it wants the blobs instead of a tar.
//
// # Lifecycle
//
// Export assembles the image under a lease, sends it, and drops the lease: the
// blobs made for the archive go with the next collection, those of the layers
// stay as long as the refs they belong to.
//
// # Concurrency
//
// An Exporter may be used from any goroutine; so may its instances.
//
// # What it does not do
//
// It does not write index.json for a client that takes blobs: the client does,
// from the response.
package archive
