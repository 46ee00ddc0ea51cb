package snapshotter

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// disk makes layers durable. One syncfs serves all commits that asked for it
// before it began, however many run at the same time.
//
// The kernel reports a failed write-back once per open file description, to
// whoever syncs next. That is why there is one description for the life of the
// process, and why a failure is remembered: it may concern every layer that was
// being written at the time, not only the one whose commit was told.
type disk struct {
	root *os.File

	waiting atomic.Uint64 // tickets given out

	mu     sync.Mutex
	served uint64 // tickets covered by a finished syncfs
	// suspect is the highest snapshot number that may have lost data; highest
	// is the highest seen. Numbers grow with time.
	suspect, highest uint64
	// pending says that layers were put whose flush was left to flush, refused
	// that one failed: it may concern any of them, and nobody knows which.
	pending atomic.Bool
	refused error

	syncfs func(fd int) error // replaced by the test of failures
}

func openDisk(root string) (*disk, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("open snapshot root: %w", err)
	}
	return &disk{root: f, syncfs: unix.Syncfs}, nil
}

func (d *disk) close() error { return d.root.Close() }

// sync returns once everything written to snapshot id before the call is on
// disk, or DataLoss if that is not certain.
func (d *disk) sync(id uint64) error {
	ticket := d.waiting.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.highest = max(d.highest, id)
	if d.served < ticket {
		covers := d.waiting.Load()
		if err := d.syncfs(int(d.root.Fd())); err != nil {
			d.suspect = d.highest
			return fmt.Errorf("write layer to disk: %w: %w", err, errdefs.ErrDataLoss)
		}
		d.served = covers
	}
	if id <= d.suspect {
		return fmt.Errorf("the disk failed while the layer was written, build it again: %w", errdefs.ErrDataLoss)
	}
	return nil
}

// put notes, before the layer is named, that the next flush has to write it.
func (d *disk) put() { d.pending.Store(true) }

// flush returns once every layer that was put before the call is on disk. It
// never succeeds again after it has failed.
func (d *disk) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused != nil || !d.pending.Swap(false) {
		return d.refused
	}
	covers := d.waiting.Load()
	if err := d.syncfs(int(d.root.Fd())); err != nil {
		d.suspect = d.highest
		d.refused = fmt.Errorf("write layers to disk: %w: %w", err, errdefs.ErrDataLoss)
		return d.refused
	}
	d.served = max(d.served, covers)
	return nil
}
