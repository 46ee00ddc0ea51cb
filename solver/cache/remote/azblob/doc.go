// Package azblob keeps caches in containers of Azure Blob Storage. See package
// bucket for what is promised; blobs are not touched, as the service can remove
// objects by the time of their last use.
//
// Credentials are the key among the attributes, or else what the daemon's own
// environment offers. A container that is not there is made by the first
// export.
package azblob
