package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	confs "github.com/containerd/continuity/fs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/executor"
)

// stubs are the mount points that are made in a root file system because they
// are not there. They must not become part of the layer, nor may the times of
// the directories around them tell when the step ran.
//
// The runtime would make them too. Making them first means that the directories
// can get their times back before the process starts: what it does to them
// after that is its own and stays.
type stubs struct {
	root string
	// made has the paths to be removed, relative to the root, parents first.
	made []string
}

// makeStubs makes the mount points in the root and has them removed at the end.
// What cannot be made is left to the runtime, whose error says more.
func (b *bundle) makeStubs(c *executor.Container) error {
	s := &stubs{root: b.root}
	r, err := os.OpenRoot(b.root)
	if err != nil {
		return fmt.Errorf("open root file system: %w", err)
	}
	defer r.Close()
	b.undo = append(b.undo, s.remove)
	for _, m := range b.spec.Mounts {
		if covered(m, b.spec.Mounts) {
			continue
		}
		dest, ok := s.resolve(m.Destination)
		if !ok {
			continue
		}
		s.make(r, dest, isFile(m), c.RemoveStubParents)
	}
	return nil
}

// covered reports a mount point that is in another mount, not in the root.
func covered(m specs.Mount, all []specs.Mount) bool {
	dest := path.Clean("/" + m.Destination)
	for _, other := range all {
		over := path.Clean("/" + other.Destination)
		if over != "/" && strings.HasPrefix(dest, over+"/") {
			return true
		}
	}
	return false
}

// isFile says what kind of mount point a mount needs.
func isFile(m specs.Mount) bool {
	if m.Type != "bind" {
		return false
	}
	fi, err := os.Stat(m.Source)
	return err == nil && !fi.IsDir()
}

// resolve follows the links on the way to a mount point, inside the root.
// Nothing runs in it yet.
func (s *stubs) resolve(dest string) (string, bool) {
	full, err := confs.RootPath(s.root, dest)
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(s.root, full)
	return rel, err == nil && filepath.IsLocal(rel) && rel != "."
}

// make makes what is missing of a mount point. With parents, directories on the
// way are stubs as well.
func (s *stubs) make(r *os.Root, dest string, file, parents bool) {
	parts := strings.Split(dest, "/")
	for i := range parts {
		name := path.Join(parts[:i+1]...)
		if _, err := r.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		last := i == len(parts)-1
		err := keepTimes(r, path.Dir(name), func() error {
			if !last || !file {
				return r.Mkdir(name, 0o755)
			}
			f, err := r.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			return
		}
		if last || parents {
			s.made = append(s.made, name)
		}
	}
}

// keepTimes gives a directory its times back after fn.
func keepTimes(r *os.Root, dir string, fn func() error) error {
	fi, err := r.Lstat(dir)
	if err == nil && !fi.IsDir() {
		err = fs.ErrInvalid
	}
	if err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	atime := fi.ModTime()
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		atime = time.Unix(st.Atim.Unix())
	}
	if err := r.Chtimes(dir, atime, fi.ModTime()); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("restore times of %s: %w", dir, err)
	}
	return nil
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
	var errs []error
	for i := len(s.made) - 1; i >= 0; i-- {
		name := s.made[i]
		fi, err := r.Lstat(name)
		if err != nil || !fi.IsDir() && (!fi.Mode().IsRegular() || fi.Size() > 0) {
			continue
		}
		kept := fs.ErrInvalid
		err = keepTimes(r, path.Dir(name), func() error {
			// A directory that is not empty stays.
			kept = r.Remove(name)
			return kept
		})
		if kept == nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
