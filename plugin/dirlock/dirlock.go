package dirlock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Take makes this process the owner of a directory. The kernel gives the lock back when the process
// ends, however it ends, so a lock file that is merely there means nothing. Closing the file unlocks.
func Take(dir string) (*os.File, error) {
	path := filepath.Join(dir, "kilnd.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("could not lock %s: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("could not lock %s, another instance running? %w", path, errdefs.ErrUnavailable)
		}
		return nil, fmt.Errorf("could not lock %s: %w", path, err)
	}
	return f, nil
}
