// Package image has the Engine API's endpoints for images. It promises the
// fields, statuses, error texts and stream messages that clients of an engine
// with containerd's image store expect, for each API version.
//
// # Vocabulary
//
// Names, ids, variants and dangling images are those of package imagestore,
// which does the work; this package reads requests and writes answers.
//
// # Concurrency
//
// Server is safe for concurrent use. A transfer ends when its client goes.
//
// # What it does not do
//
// Searching registries: a builder has no use for it, and says so.
package image
