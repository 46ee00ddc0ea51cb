// Package fsutil holds the packets of a directory transfer.
//
// The code is generated; see the .proto file for what each message means.
package fsutil
