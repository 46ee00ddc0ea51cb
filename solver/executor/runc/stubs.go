package runc

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// stubs are the mount points that a runtime creates in a root file system
// because they are not there. They must not become part of the layer.
type stubs struct {
	root string
	// missing has the paths that did not exist, parents first.
	missing []string
	// times of directories that get a new entry, by path.
	times map[string][2]time.Time
}

// findStubs notes which mount points are missing in root.
func findStubs(root string, mounts []specs.Mount) (*stubs, error) {
	s := &stubs{root: root, times: map[string][2]time.Time{}}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	seen := map[string]bool{}
	for _, m := range mounts {
		s.find(r, strings.TrimPrefix(path.Clean("/"+m.Destination), "/"), seen)
	}
	return s, nil
}

// find walks down to a mount point and notes what is missing. A link on the
// way ends the walk: what the runtime makes behind it is left alone.
func (s *stubs) find(r *os.Root, dest string, seen map[string]bool) {
	if dest == "" {
		return
	}
	parts := strings.Split(dest, "/")
	for i := range parts {
		name := path.Join(parts[:i+1]...)
		if seen[name] {
			continue
		}
		fi, err := r.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			seen[name] = true
			s.missing = append(s.missing, name)
			s.noteTimes(r, path.Dir(name))
		case err != nil || fi.Mode()&fs.ModeSymlink != 0:
			return
		}
	}
}

func (s *stubs) noteTimes(r *os.Root, dir string) {
	if _, ok := s.times[dir]; ok {
		return
	}
	fi, err := r.Lstat(dir)
	if err != nil {
		return
	}
	atime := fi.ModTime()
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		atime = time.Unix(st.Atim.Unix())
	}
	s.times[dir] = [2]time.Time{atime, fi.ModTime()}
}

// remove removes stubs that are still empty, deepest first, and gives their
// directories the times they had. Nothing is followed: a process could have
// put a link in the place of a stub to have a file of the host removed.
func (s *stubs) remove() error {
	r, err := os.OpenRoot(s.root)
	if err != nil {
		return err
	}
	defer r.Close()
	touched := map[string]bool{}
	for i := len(s.missing) - 1; i >= 0; i-- {
		name := s.missing[i]
		fi, err := r.Lstat(name)
		if err != nil || !fi.IsDir() && (!fi.Mode().IsRegular() || fi.Size() > 0) {
			continue
		}
		// A directory that is not empty stays.
		if err := r.Remove(name); err == nil {
			touched[path.Dir(name)] = true
		}
	}
	for dir := range touched {
		if t, ok := s.times[dir]; ok {
			if err := r.Chtimes(dir, t[0], t[1]); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EROFS) {
				return err
			}
		}
	}
	return nil
}
