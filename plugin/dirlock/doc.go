// Package dirlock makes one process the owner of a directory. It promises that two processes never both own it, and
// that a process that died, however it died, owns nothing.
//
// A lock is an open file; closing it gives the directory back. The kernel keeps the truth, so a lock file that is merely
// there means nothing, and it is never removed. Take may be called from any goroutine. Directories on network file
// systems are not meant.
package dirlock
