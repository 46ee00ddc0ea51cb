package network

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// initLock takes the lock that daemons share while they make their first
// network, if the environment names one.
func initLock() (unlock func(), err error) {
	path := os.Getenv(envInitLock)
	if path == "" {
		return func() {}, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock (%s): %w", envInitLock, err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// claims are the locks that daemons on one bridge hold: byte 0 of a file is
// for the bridge, byte n for the n-th address. They belong to the open file,
// so the kernel gives them back if the daemon dies.
type claims struct {
	file *os.File

	mu   sync.Mutex
	mine map[uint32]bool
}

// openClaims opens the file and waits for a share of the bridge.
func openClaims(path string) (*claims, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create directory of locks: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open locks of the bridge: %w", err)
	}
	c := &claims{file: f, mine: map[uint32]bool{}}
	if err := c.lock(unix.F_OFD_SETLKW, unix.F_RDLCK, 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the bridge: %w", err)
	}
	return c, nil
}

func (c *claims) lock(how int, kind int16, n uint32) error {
	for {
		err := unix.FcntlFlock(c.file.Fd(), how, &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: int64(n), Len: 1})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// alone makes the share of the bridge an exclusive one, if nobody else has a
// share.
func (c *claims) alone() bool { return c.lock(unix.F_OFD_SETLK, unix.F_WRLCK, 0) == nil }

// take claims a free number from first to last, looking from the given one on.
// If all are taken the error is errdefs ResourceExhausted.
func (c *claims) take(from, first, last uint32) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := from
	for range last - first + 1 {
		if n < first || n > last {
			n = first
		}
		if !c.mine[n] {
			err := c.lock(unix.F_OFD_SETLK, unix.F_WRLCK, n)
			if err == nil {
				c.mine[n] = true
				return n, nil
			}
			if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
				return 0, fmt.Errorf("claim address: %w", err)
			}
		}
		n++
	}
	return 0, fmt.Errorf("all addresses of the bridge are in use (worker.oci.bridgeSubnet): %w", errdefs.ErrResourceExhausted)
}

// drop gives a number back.
func (c *claims) drop(n uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mine[n] {
		delete(c.mine, n)
		_ = c.lock(unix.F_OFD_SETLK, unix.F_UNLCK, n)
	}
}

// close gives everything back.
func (c *claims) close() error { return c.file.Close() }
