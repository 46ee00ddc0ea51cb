package overlay

import (
	"fmt"
	"slices"

	"github.com/kilnbuild/kiln/differ/internal/inode"
	"golang.org/x/sys/unix"
)

// IsWhiteoutDevice reports whether st is the usual form of a whiteout.
func IsWhiteoutDevice(st *inode.Stat) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// IsWhiteout reports whether name in dir is a whiteout of either form.
func (a Attrs) IsWhiteout(dir int, name string, st *inode.Stat) (bool, error) {
	if IsWhiteoutDevice(st) {
		return true, nil
	}
	// The attribute form is used by unprivileged tools and for layers that are
	// themselves stored on overlayfs.
	if !inode.IsRegular(st) || st.Size != 0 {
		return false, nil
	}
	_, ok, err := inode.GetXattr(dir, name, string(a)+"whiteout")
	return ok, err
}

// IsOpaque reports whether an opened layer directory hides lower layers. A
// redirected directory is refused with ErrNeedsMount.
func (a Attrs) IsOpaque(dir int) (bool, error) {
	keys, err := inode.ListXattr(dir, "")
	if err != nil || len(keys) == 0 {
		return false, err
	}
	if slices.Contains(keys, string(a)+"redirect") {
		return false, ErrNeedsMount
	}
	if !slices.Contains(keys, string(a)+"opaque") {
		return false, nil
	}
	// "x" means that files marked as whiteouts are inside, and hides nothing.
	value, _, err := inode.GetXattr(dir, "", string(a)+"opaque")
	return value == "y", err
}

// SetOpaque makes a layer directory opaque.
func (a Attrs) SetOpaque(dir int) error {
	return inode.SetXattr(dir, "", string(a)+"opaque", "y")
}

// Stack is the merged look at one directory of a pile of layers.
// A nil Stack is a directory that is not there.
type Stack struct {
	fds   []int
	attrs Attrs
}

// OpenStack opens the root of the layers dirs, topmost first. With no dirs it
// answers nil.
func OpenStack(dirs []string, attrs Attrs) (*Stack, error) {
	if len(dirs) == 0 {
		return nil, nil
	}
	s := &Stack{attrs: attrs}
	for _, d := range dirs {
		fd, err := inode.OpenRoot(d)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.fds = append(s.fds, fd)
	}
	return s, nil
}

// Close closes the handles.
func (s *Stack) Close() {
	if s == nil {
		return
	}
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	s.fds = nil
}

// Hit is where a name was found.
type Hit struct {
	// Dir is the handle of the layer directory that shows the name. It belongs
	// to the Stack.
	Dir int
	// Stat describes the file.
	Stat inode.Stat
}

// Lookup finds the topmost file of that name. ok is false if no layer has it
// or a whiteout hides it.
func (s *Stack) Lookup(name string) (hit Hit, ok bool, err error) {
	if s == nil {
		return Hit{}, false, nil
	}
	for _, fd := range s.fds {
		st, err := inode.Lstat(fd, name)
		if inode.Missing(err) {
			continue
		}
		if err != nil {
			return Hit{}, false, fmt.Errorf("look up %s in lower layers: %w", name, err)
		}
		white, err := s.attrs.IsWhiteout(fd, name, &st)
		if err != nil || white {
			return Hit{}, false, err
		}
		return Hit{Dir: fd, Stat: st}, true, nil
	}
	return Hit{}, false, nil
}

// Child opens the merged directory of that name, nil if the topmost file of
// that name is no directory. The caller closes it.
func (s *Stack) Child(name string) (*Stack, error) {
	if s == nil {
		return nil, nil
	}
	child := &Stack{attrs: s.attrs}
	for _, fd := range s.fds {
		st, err := inode.Lstat(fd, name)
		if inode.Missing(err) {
			continue
		}
		if err == nil && !inode.IsDir(&st) {
			break
		}
		var sub int
		if err == nil {
			sub, err = inode.OpenDir(fd, name)
		}
		opaque := false
		if err == nil {
			child.fds = append(child.fds, sub)
			opaque, err = s.attrs.IsOpaque(sub)
		}
		if err != nil {
			child.Close()
			return nil, fmt.Errorf("open lower directory %s: %w", name, err)
		}
		if opaque {
			break
		}
	}
	if len(child.fds) == 0 {
		return nil, nil
	}
	return child, nil
}

// Names lists the visible names of the merged directory in byte order.
func (s *Stack) Names() ([]string, error) {
	if s == nil {
		return nil, nil
	}
	seen := map[string]bool{} // name -> visible
	for _, fd := range s.fds {
		names, err := inode.Names(fd)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if _, ok := seen[name]; ok {
				continue
			}
			st, err := inode.Lstat(fd, name)
			if err != nil {
				return nil, fmt.Errorf("look at %s in lower layers: %w", name, err)
			}
			white, err := s.attrs.IsWhiteout(fd, name, &st)
			if err != nil {
				return nil, err
			}
			seen[name] = !white
		}
	}
	out := make([]string, 0, len(seen))
	for name, visible := range seen {
		if visible {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Top is the handle of the topmost layer directory, whose metadata is that of
// the merged directory. It belongs to the Stack, which must not be nil.
func (s *Stack) Top() int { return s.fds[0] }
