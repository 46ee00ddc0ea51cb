package cache

import (
	"errors"
)

var (
	// ErrNewer is wrapped by OpenBolt's error for a file of a newer format.
	ErrNewer = errors.New("it was written by a newer version")
	// ErrInUse is wrapped by OpenBolt's error for a file that another process
	// has open.
	ErrInUse = errors.New("another process has it open")
	// ErrClosed is returned by calls on a closed store.
	ErrClosed = errors.New("the cache is closed")

	errNoKeys  = errors.New("save result: no keys")
	errCorrupt = errors.New("the file is damaged")
)
