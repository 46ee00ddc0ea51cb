// Package s3 keeps caches in buckets of Amazon S3 and whatever speaks its
// protocol. See package bucket for what is promised.
//
// Credentials are those among the attributes, or else what the daemon's own
// environment offers, as usual with the service. Only the daemon's operator
// decides the latter: a client that names none uses the daemon's.
package s3
