// Package layout keeps the index of an OCI image layout: which images a
// directory of blobs holds. It promises that a reader sees the index before or
// after a change and never half of it, and that entries of others survive.
//
// It neither reads nor writes blobs. Changes of several processes at the same
// time are put one after the other by a lock on the directory.
package layout
