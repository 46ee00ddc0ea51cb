package snapshotter

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Names below the root. A layer's own files are fs/<id>, directly, so that a
// lower directory costs the mount options only the digits of its number: with
// plain mount(2) and one page of options, that is the difference between 440
// and 650 layers.
const (
	dbName    = "metadata.db"
	fsName    = "fs"
	workName  = "work"
	indexName = "index"
	trashName = "trash"
	emptyName = "empty"
)

// topDirFlag is ext4's FS_TOPDIR_FL (chattr +T).
const topDirFlag = 0x00020000

// layout knows where things are below the root. Every path is made of the root
// and a number, never of a string that a client chose.
type layout struct {
	root  string
	run   string // distinguishes this process's temporary names from older ones
	count atomic.Uint64
}

func id10(id uint64) string { return strconv.FormatUint(id, 10) }

func (l *layout) db() string               { return filepath.Join(l.root, dbName) }
func (l *layout) empty() string            { return filepath.Join(l.root, emptyName) }
func (l *layout) upper(id uint64) string   { return filepath.Join(l.root, fsName, id10(id)) }
func (l *layout) workTop(id uint64) string { return filepath.Join(l.root, workName, id10(id)) }
func (l *layout) index(id uint64) string   { return filepath.Join(l.root, indexName, id10(id)) }

// temporary is a name that no other process and no other call uses.
func (l *layout) temporary() string {
	return l.run + "-" + strconv.FormatUint(l.count.Add(1), 10)
}

// create makes the fixed directories. It is the same work for any size of state.
func (l *layout) create() error {
	if err := os.MkdirAll(l.root, 0o700); err != nil {
		return fmt.Errorf("create snapshot root: %w", err)
	}
	for _, name := range []string{fsName, workName, indexName, trashName, emptyName} {
		path := filepath.Join(l.root, name)
		err := os.Mkdir(path, 0o755)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("create snapshot directory: %w", err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			return fmt.Errorf("set mode of snapshot directory: %w", err)
		}
		if name == fsName {
			spreadLayers(path)
		}
	}
	return nil
}

// spreadLayers tells ext4 that the directories in path are unrelated, so that
// each gets a block group of its own. Without it, writing a layer after a large
// removal searches the groups that were just emptied and is several times
// slower. Other file systems refuse, which does not matter.
func spreadLayers(path string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return
	}
	_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|topDirFlag)
}

// discard moves path into the trash. Something that is not there is no error.
func (l *layout) discard(path string) error {
	err := os.Rename(path, filepath.Join(l.root, trashName, l.temporary()))
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("move to trash: %w", err)
	}
	return nil
}

// discardAll moves all a snapshot has on disk into the trash.
func (l *layout) discardAll(id uint64) error {
	for _, path := range []string{l.upper(id), l.workTop(id), l.index(id)} {
		if err := l.discard(path); err != nil {
			return err
		}
	}
	return nil
}

// makeUpper creates the directories of an active snapshot. Whatever already
// has this number is left over from a transaction that never became durable:
// the caller holds the only write transaction, and no record has the number.
func (l *layout) makeUpper(id uint64, withWork bool) error {
	if err := l.mkdirFresh(l.upper(id), 0o755); err != nil {
		return err
	}
	// An index belonging to an earlier bearer of the number would be believed.
	if err := l.discard(l.index(id)); err != nil {
		return err
	}
	if !withWork {
		return l.discard(l.workTop(id))
	}
	return l.mkdirFresh(l.workTop(id), 0o700)
}

func (l *layout) mkdirFresh(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	if os.IsExist(err) {
		if err = l.discard(path); err == nil {
			err = os.Mkdir(path, mode)
		}
	}
	if err != nil {
		return fmt.Errorf("create layer directory: %w", err)
	}
	return nil
}

// removeWork deletes the work directory of a snapshot that was committed; it
// holds nothing but empty directories. Whoever still has the snapshot mounted
// writable can from now on no longer copy files up into the committed layer.
func (l *layout) removeWork(id uint64) {
	top := l.workTop(id)
	for _, name := range []string{"work/incompat/volatile/dirty", "work/incompat/volatile", "work/incompat", "work", "index", ""} {
		_ = os.Remove(filepath.Join(top, name))
	}
}
