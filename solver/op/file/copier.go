package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"
)

// inodeKey names a file whatever its names are.
type inodeKey struct{ dev, ino uint64 }

// keyOf is the key of the file that st describes.
func keyOf(st *unix.Stat_t) inodeKey { return inodeKey{st.Dev, st.Ino} }

// copier copies one source path.
type copier struct {
	*copying
	// first has the copy of the first name of each file with several.
	first map[inodeKey]string
}

// level is a directory being copied.
type level struct {
	above *level
	src   *dir
	st    unix.Stat_t
	// rel is the path from the copied path, which patterns see.
	rel  string
	name string
	// dst is nil until something in the directory is taken in.
	dst *dir
	// taken directories are selected themselves, others only lead to something.
	taken, created    bool
	included, ignored patternmatcher.MatchInfo
}

// top copies a directory to name in to, or its contents into to if there is no
// name. One that exists keeps its attributes but takes the time.
func (k *copier) top(ctx context.Context, from *dir, st *unix.Stat_t, to *dir, name string) error {
	lv := &level{src: from, st: *st, name: name, taken: true}
	if name == "" {
		lv.dst = to
	} else {
		if err := k.replace(to, name, st); err != nil {
			return err
		}
		if err := k.enter(lv, to, false); err != nil {
			return err
		}
		defer lv.dst.close()
	}
	if err := k.children(ctx, lv); err != nil {
		return err
	}
	return k.dateDir(lv)
}

// enter opens or makes the copy of a directory in to.
func (k *copier) enter(lv *level, to *dir, overwrite bool) error {
	have, err := to.lstat(lv.name)
	switch {
	case errors.Is(err, unix.ENOENT):
		// Closed to others until it has its owner.
		lv.dst, err = to.mkdir(lv.name, 0o700)
		lv.created = err == nil
	case err != nil:
		return to.fault("lstat", lv.name, err)
	case !isDir(&have):
		return fmt.Errorf("cannot copy to non-directory: %s", to.below(lv.name))
	default:
		lv.dst, err = to.child(lv.name)
	}
	if err != nil {
		return err
	}
	if lv.created || overwrite {
		err = k.dirInfo(lv)
	}
	if err != nil {
		lv.dst.close()
		lv.dst = nil
	}
	return err
}

// dirInfo gives the copy of a directory its attributes. One that was there and
// only leads to something takes the mode.
func (k *copier) dirInfo(lv *level) error {
	fd, err := lv.dst.writable()
	if err != nil {
		return err
	}
	if !lv.created && !lv.taken {
		return lv.dst.wrap("chmod", unix.Fchmod(fd, lv.st.Mode&permBits))
	}
	uid, gid := k.ownerFor(&lv.st)
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return lv.dst.wrap("chown", err)
	}
	if err := unix.Fchmod(fd, k.mode(&lv.st)); err != nil {
		return lv.dst.wrap("chmod", err)
	}
	if lv.src.up == nothing { // the empty file system has no attributes
		return nil
	}
	return lv.dst.wrap("copy attributes of", copyXattrs(fdPath(lv.src.up), fdPath(fd)))
}

// wrap is fault for the directory itself; nil for nil.
func (d *dir) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.path, Err: err}
}

// ownerFor returns the owner of the copy of a file.
func (c *copying) ownerFor(st *unix.Stat_t) (uid, gid int) {
	if c.who != nil {
		return c.who.uid, c.who.gid
	}
	return int(st.Uid), int(st.Gid)
}

// timesFor returns the times of the copy of a file.
func (c *copying) timesFor(st *unix.Stat_t) []unix.Timespec {
	if c.times != nil {
		return c.times
	}
	return []unix.Timespec{st.Atim, st.Mtim}
}

// dateDir dates the copy of a directory after all that changed it.
func (k *copier) dateDir(lv *level) error {
	fd, err := lv.dst.writable()
	if err != nil {
		return err
	}
	return lv.dst.wrap("utimes", setTimes(fd, "", k.timesFor(&lv.st)))
}

// made returns the copy of a directory, making it and those above it.
func (k *copier) made(lv *level) (*dir, error) {
	if lv.dst != nil {
		return lv.dst, nil
	}
	to, err := k.made(lv.above)
	if err != nil {
		return nil, err
	}
	if lv.taken {
		if err := k.replace(to, lv.name, &lv.st); err != nil {
			return nil, err
		}
	}
	return lv.dst, k.enter(lv, to, true)
}

// replace removes what is in the way of another kind of file, if the action
// says so.
func (k *copier) replace(to *dir, name string, st *unix.Stat_t) error {
	if !k.a.GetAlwaysReplaceExistingDestPaths() || name == "" {
		return nil
	}
	have, err := to.lstat(name)
	if err != nil || isDir(st) == isDir(&have) {
		return nil // nothing there, directories merge, files are replaced anyway
	}
	return to.remove(name)
}

// match is what patterns say of a path.
type match struct {
	in, excluded      bool
	included, ignored patternmatcher.MatchInfo
}

// match asks the patterns about a path. What they said of the directory above
// is kept there, so that a path costs one component and not all of them.
func (k *copier) match(rel string, lv *level) (m match, err error) {
	m.in = true
	if k.include != nil {
		if m.in, m.included, err = k.include.MatchesUsingParentResults(rel, lv.included); err != nil {
			return m, fmt.Errorf("failed to match includepatterns: %w", err)
		}
	}
	if k.exclude != nil {
		if m.excluded, m.ignored, err = k.exclude.MatchesUsingParentResults(rel, lv.ignored); err != nil {
			return m, fmt.Errorf("failed to match excludepatterns: %w", err)
		}
		m.in = m.in && !m.excluded
	}
	return m, nil
}

// lost reports that nothing below an excluded path can come back.
func (k *copier) lost(m match) bool {
	return m.excluded && !k.exclude.Exclusions()
}

// children copies what is selected in a directory: first files, then
// directories.
func (k *copier) children(ctx context.Context, lv *level) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	names, err := lv.src.names()
	if err != nil {
		return fmt.Errorf("failed to read %s: %w", lv.src.path, err)
	}
	b := &batch{copier: k, lv: lv}
	var dirs []*level
	for _, name := range names {
		rel := strings.TrimPrefix(lv.rel+"/"+name, "/")
		m, err := k.match(rel, lv)
		if err != nil {
			return err
		}
		if k.lost(m) {
			continue // not even looked at
		}
		st, err := lv.src.lstat(name)
		if err != nil {
			return fmt.Errorf("failed to stat %s: %w", lv.src.below(name), err)
		}
		// A directory that is not selected may still lead to something that is.
		switch {
		case isDir(&st):
			dirs = append(dirs, &level{above: lv, st: st, rel: rel, name: name, taken: m.in, included: m.included, ignored: m.ignored})
		case m.in:
			b.jobs = append(b.jobs, job{name, st})
		}
	}
	if err := b.run(ctx); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := k.directory(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// directory copies a directory below the top.
func (k *copier) directory(ctx context.Context, lv *level) error {
	var err error
	if lv.src, err = lv.above.src.child(lv.name); err != nil {
		return err
	}
	defer lv.src.close()
	defer func() {
		if lv.dst != nil {
			lv.dst.close()
		}
	}()
	if lv.taken {
		if _, err := k.made(lv); err != nil {
			return err
		}
	}
	if err := k.children(ctx, lv); err != nil {
		return err
	}
	// One that was there and only led to something keeps no date of the source.
	if lv.taken || lv.created {
		return k.dateDir(lv)
	}
	return nil
}
