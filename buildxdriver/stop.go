package buildxdriver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// stopWithin is how long kilnd may take to cancel builds and to end.
const stopWithin = 60 * time.Second

// Stop implements driver.Driver: it ends the kilnd that was started for this
// node. Without one it does nothing.
func (d *Driver) Stop(ctx context.Context, _ bool) error {
	return d.withRecord(ctx, func(rec *record) error { return rec.end(stopWithin) })
}

// Rm implements driver.Driver: it also removes what Bootstrap has made for
// this node. The root directory goes with rmVolume, and only if the options
// name it; the default one belongs to every kilnd of the machine.
func (d *Driver) Rm(ctx context.Context, _, rmVolume, rmDaemon bool) error {
	if !rmDaemon {
		return nil
	}
	return d.withRecord(ctx, func(rec *record) error {
		if err := rec.end(stopWithin); err != nil {
			return err
		}
		if err := d.removeRoot(ctx, rec, rmVolume); err != nil {
			return err
		}
		if err := os.RemoveAll(d.opts.room); err != nil {
			return fmt.Errorf("remove directory of the node: %w", err)
		}
		d.removeEmpty(rec)
		return nil
	})
}

// withRecord calls do with the node's record under the lock, if there is one.
func (d *Driver) withRecord(ctx context.Context, do func(*record) error) error {
	if _, err := readRecord(d.opts.room); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lockDir(ctx, d.opts.state)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := readRecord(d.opts.room)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return do(rec)
}

// removeRoot removes the root directory if it is the node's own and nobody
// uses it.
func (d *Driver) removeRoot(ctx context.Context, rec *record, asked bool) error {
	conn, err := d.Dial(ctx)
	if err == nil {
		conn.Close()
		return nil // Somebody else serves there now.
	}
	// What a killed daemon leaves; one that ends by itself removes it.
	if rec.Socket == d.opts.socket {
		if st, err := os.Lstat(rec.Socket); err == nil && st.Mode()&os.ModeSocket != 0 {
			_ = os.Remove(rec.Socket) // The next daemon would do it too.
		}
	}
	if !asked || rec.MadeRoot == "" || rec.MadeRoot != d.opts.root {
		return nil
	}
	release, free := takeRoot(rec.MadeRoot)
	if !free {
		return nil // Another kilnd has moved in.
	}
	defer release()
	// Removing through a mount would remove what is not the node's.
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(rec.MadeRoot))
	if err != nil {
		return fmt.Errorf("look for mounts below %s: %w", rec.MadeRoot, err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("remove %s: %s is still mounted; unmount it and remove the builder again", rec.MadeRoot, mounts[0].Mountpoint)
	}
	if err := os.RemoveAll(rec.MadeRoot); err != nil {
		return fmt.Errorf("remove root of kilnd: %w", err)
	}
	return nil
}

// takeRoot takes kilnd's own lock of a root directory; false means that a
// kilnd uses it.
func takeRoot(root string) (release func(), free bool) {
	f, err := os.Open(filepath.Join(root, "kilnd.lock"))
	if err != nil {
		return func() {}, errors.Is(err, os.ErrNotExist)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, false
	}
	return func() { f.Close() }, true
}

// removeEmpty removes the directories above the room that the driver has made
// and that nobody has put anything into.
func (d *Driver) removeEmpty(rec *record) {
	if rec.MadeState == "" {
		return
	}
	for at := d.opts.state; len(at) >= len(rec.MadeState); at = filepath.Dir(at) {
		if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) {
			return // It is in use.
		}
	}
}
