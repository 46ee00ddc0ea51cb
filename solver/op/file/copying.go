package file

import (
	"context"
	"fmt"
	"io/fs"
	"path"

	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// defaultDirMode is the mode of directories that a path needs.
const defaultDirMode = 0o755

// copying is one copy action.
type copying struct {
	a        *pb.FileActionCopy
	src, dst *tree
	// who owns the copies; nil keeps the owners.
	who *owner
	// times of the copies; nil keeps them.
	times []unix.Timespec
	// modes change the modes; nil leaves it to the action's number.
	modes            modeSet
	include, exclude *patternmatcher.PatternMatcher
	// links shares files with the source; nil copies all.
	links *linker
}

func newCopying(a *pb.FileActionCopy, src, dst *tree, who *owner) (*copying, error) {
	c := &copying{a: a, src: src, dst: dst, who: who, times: timesOf(a.GetTimestamp())}
	var err error
	if a.GetModeStr() != "" {
		if c.modes, err = parseMode(a.GetModeStr()); err != nil {
			return nil, err
		}
	}
	if c.include, err = newMatcher("include", a.GetIncludePatterns()); err != nil {
		return nil, err
	}
	c.exclude, err = newMatcher("exclude", a.GetExcludePatterns())
	return c, err
}

func newMatcher(what string, patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("invalid %spatterns: %s: %w", what, patterns, err)
	}
	return m, nil
}

// mode returns the mode of the copy of a file.
func (c *copying) mode(st *unix.Stat_t) uint32 {
	switch {
	case c.modes != nil:
		return c.modes.apply(st.Mode, isDir(st))
	case c.a.GetMode() != -1 && c.a.GetModeStr() == "":
		return uint32(c.a.GetMode()) & permBits
	}
	return st.Mode & permBits
}

// parents says what the directories are made like that lead to the copy.
func (c *copying) parents() newDir {
	how := newDir{mode: defaultDirMode, owner: c.who, times: c.times}
	if c.a.GetMode() != -1 && c.a.GetModeStr() == "" {
		how.mode = uint32(c.a.GetMode()) & 0o777
	}
	return how
}

// run copies everything that the source path matches.
func (c *copying) run(ctx context.Context) error {
	if !c.a.GetCreateDestPath() {
		if err := c.checkParent(); err != nil {
			return err
		}
	}
	// Without wildcards the ending of the path means something; a pattern has
	// none.
	sources := []string{cleanPath(c.a.GetSrc())}
	if c.a.GetAllowWildcard() {
		var err error
		if sources, err = c.src.glob(sources[0], c.a.GetFollowSymlink()); err != nil {
			return err
		}
		if len(sources) == 0 && !c.a.GetAllowEmptyWildcard() {
			return fmt.Errorf("%s not found", cleanPath(c.a.GetSrc()))
		}
	}
	for _, s := range sources {
		if c.a.GetAttemptUnpackDockerCompatibility() {
			done, err := c.unpack(ctx, s)
			if err != nil {
				return err
			}
			if done {
				continue
			}
		}
		if err := c.one(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// checkParent refuses a destination whose directory is not there.
func (c *copying) checkParent() error {
	p, err := c.dst.resolve(path.Join("/", c.a.GetDest()), true)
	if err != nil {
		return fmt.Errorf("failed to stat %s: %w", c.a.GetDest(), err)
	}
	defer p.close()
	if len(p.rest) > 1 { // more than the last name is missing
		return fmt.Errorf("failed to stat %s: %w", c.a.GetDest(), &fs.PathError{Op: "lstat", Path: path.Dir(p.path()), Err: unix.ENOENT})
	}
	return nil
}

// one copies one path.
func (c *copying) one(ctx context.Context, source string) error {
	// The directory above is made even if the copy turns out to be impossible,
	// and if the destination is said to be a directory, that one.
	above := cleanPath(c.a.GetDest())
	if dir, base := path.Split(above); base != "" && base != "." {
		above = dir
	}
	ways, err := c.makeParents(above)
	if err != nil {
		return err
	}
	defer ways.close()
	from, err := c.src.resolve(path.Join("/", source), c.a.GetFollowSymlink())
	if err != nil {
		return err
	}
	defer from.close()
	st, ok, err := from.stat()
	if err == nil && !ok {
		err = &fs.PathError{Op: "lstat", Path: from.path(), Err: unix.ENOENT}
	}
	if err != nil {
		return err
	}
	to, name, err := c.target(&st, path.Base(source))
	if err != nil {
		return err
	}
	defer to.close()
	// Hard links are kept within what one path holds, not between matches.
	k := &copier{copying: c, first: map[inodeKey]string{}}
	if isDir(&st) {
		err = k.top(ctx, from.dir, &st, to.dir, name)
	} else {
		err = k.file(ctx, from.dir, from.rest[0], &st, to.dir, name)
	}
	if err != nil {
		return err
	}
	if err := c.parents().stamp(to.dir); err != nil {
		return err
	}
	return c.parents().stamp(ways.dir)
}

// makeParents makes the directory that the destination is in, whatever is
// copied.
func (c *copying) makeParents(above string) (place, error) {
	p, err := c.dst.resolve(path.Join("/", above), true)
	if err != nil {
		return place{}, err
	}
	return makeAll(p, c.parents())
}

// target decides where the copy goes: to name in the directory at the place,
// or, without a name, into that directory itself. base is the last component
// of the source as it was written: that of "x/." is ".", which is how the
// ending asks for the contents.
func (c *copying) target(st *unix.Stat_t, base string) (place, string, error) {
	to, err := c.dst.resolve(path.Clean(cleanPath(c.a.GetDest())), true)
	if err != nil {
		return place{}, "", err
	}
	have, exists, err := to.stat()
	if err != nil {
		to.close()
		return place{}, "", fmt.Errorf("failed to lstat destination path: %w", err)
	}
	// A directory goes into one that is there, unless its contents are meant; a
	// file always does.
	contents := isDir(st) && c.a.GetDirCopyContents()
	into := exists && !contents && (isDir(st) || isDir(&have))
	switch {
	case into && !isDir(&have):
		to.close()
		return place{}, "", &fs.PathError{Op: "mkdir", Path: to.path(), Err: unix.ENOTDIR}
	case into && base != "." && base != "/":
		return to, base, nil
	case into || exists && len(to.rest) == 0:
		return to, "", nil
	case contents && !exists:
		// Made like any directory on the way: the source's attributes stay with
		// the source (wire format fact).
		to, err = makeAll(to, c.parents())
		return to, "", err
	}
	// A new name, or a file that is to be replaced.
	name := to.rest[len(to.rest)-1]
	to.rest = to.rest[:len(to.rest)-1]
	to, err = makeAll(to, c.parents())
	return to, name, err
}
