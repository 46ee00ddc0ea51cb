// Package fakedaemon is a daemon for tests of the client: it speaks the
// Control API on a unix socket, holds real sessions and answers as it is told.
// It promises to record what was asked, so that tests see what reaches the
// wire, and it builds nothing.
package fakedaemon
