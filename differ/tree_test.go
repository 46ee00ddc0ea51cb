package differ_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// base is a fixed time in the past: files of a tree get times after it with and
// without nanoseconds, which are compared differently.
var base = time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)

// mutator changes a tree at random. The same seed makes the same changes.
type mutator struct {
	t    testing.TB
	rng  *rand.Rand
	root string
}

// names is short, so that changes meet.
var names = []string{"a", "b", "c", "a-b", "a.b", "é", "lib", "with space", strings.Repeat("long", 40)}

func (m *mutator) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// paths lists the tree, the root first.
func (m *mutator) paths(dirsOnly bool) []string {
	var out []string
	m.must(filepath.WalkDir(m.root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && (d.IsDir() || !dirsOnly) {
			out = append(out, p)
		}
		return err
	}))
	return out
}

func (m *mutator) pick(list []string) string { return list[m.rng.IntN(len(list))] }

// fresh returns a path that is not taken, or "".
func (m *mutator) fresh() string {
	p := filepath.Join(m.pick(m.paths(true)), m.pick(names))
	if _, err := os.Lstat(p); err == nil || strings.Count(p[len(m.root):], "/") > 5 {
		return ""
	}
	return p
}

func (m *mutator) content() []byte {
	n := []int{0, 1, 100, 5000, 70_000}[m.rng.IntN(5)]
	return bytes.Repeat([]byte{byte(m.rng.IntN(256)), byte(m.rng.IntN(256))}, n/2)
}

// stamp dates a file; links too.
func (m *mutator) stamp(p string) {
	t := base.Add(time.Duration(m.rng.IntN(1000)) * time.Second)
	if m.rng.IntN(2) == 0 {
		t = t.Add(time.Duration(1 + m.rng.IntN(999_999_999)))
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	m.must(unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// dress sets owner, mode and attributes of a new file or directory.
func (m *mutator) dress(p string) {
	if m.rng.IntN(3) == 0 {
		m.must(os.Lchown(p, m.rng.IntN(3)*1000, m.rng.IntN(70_000)))
	}
	if m.rng.IntN(3) == 0 {
		m.must(unix.Chmod(p, uint32([]int{0o600, 0o755, 0o4755, 0o2711, 0o1777, 0o000}[m.rng.IntN(6)])))
	}
	st, err := os.Lstat(p)
	m.must(err)
	// On a directory capabilities mean nothing, and a tree cannot lose them by a
	// layer, as nothing in a tar says so.
	if m.rng.IntN(5) == 0 && !st.IsDir() {
		caps := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		m.must(unix.Lsetxattr(p, "security.capability", []byte(caps), 0))
	}
}

// step makes one random change.
func (m *mutator) step() {
	switch m.rng.IntN(14) {
	case 0, 1, 2:
		if p := m.fresh(); p != "" {
			m.must(os.WriteFile(p, m.content(), 0o644))
			m.dress(p)
			m.stamp(p)
		}
	case 3, 4:
		if p := m.fresh(); p != "" {
			m.must(os.Mkdir(p, 0o755))
			m.dress(p)
		}
	case 5:
		if p := m.fresh(); p != "" {
			m.must(os.Symlink(m.pick([]string{"/etc", "../..", "a", "nowhere/at/all"}), p))
			m.stamp(p)
		}
	case 6:
		m.node()
	case 7:
		m.hardLink()
	case 8, 9:
		if p := m.pick(m.paths(false)); p != m.root {
			m.must(os.RemoveAll(p))
		}
	case 10:
		m.rewrite()
	case 11:
		if p := m.pick(m.paths(false)); p != m.root {
			if st, err := os.Lstat(p); err == nil && st.Mode()&os.ModeSymlink == 0 {
				m.dress(p)
			}
		}
	case 12:
		m.replaceKind()
	case 13:
		if p, to := m.pick(m.paths(false)), m.fresh(); p != m.root && to != "" && !strings.HasPrefix(to, p) {
			// A directory of a lower layer cannot be renamed; that is fine.
			_ = os.Rename(p, to)
		}
	}
}

// node makes a device, fifo or socket.
func (m *mutator) node() {
	p := m.fresh()
	if p == "" {
		return
	}
	format := []uint32{unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFSOCK}[m.rng.IntN(4)]
	dev := 0
	if format == unix.S_IFCHR || format == unix.S_IFBLK {
		dev = int(unix.Mkdev(uint32(1+m.rng.IntN(9)), uint32(m.rng.IntN(300))))
	}
	m.must(unix.Mknod(p, format|0o640, dev))
	m.stamp(p)
}

func (m *mutator) hardLink() {
	from, to := m.pick(m.paths(false)), m.fresh()
	if st, err := os.Lstat(from); err == nil && to != "" && !st.IsDir() && st.Mode()&os.ModeSocket == 0 {
		m.must(os.Link(from, to))
	}
}

// rewrite changes or only touches a regular file.
func (m *mutator) rewrite() {
	p := m.pick(m.paths(false))
	st, err := os.Lstat(p)
	if err != nil || !st.Mode().IsRegular() {
		return
	}
	old, err := os.ReadFile(p)
	m.must(err)
	changed := m.rng.IntN(2) == 0
	if changed {
		old = m.content()
	}
	m.must(os.WriteFile(p, old, 0))
	// A walking comparison believes equal times, so changes come with new ones.
	if changed {
		m.stamp(p)
	} else if m.rng.IntN(2) == 0 {
		ts := unix.NsecToTimespec(st.ModTime().UnixNano())
		m.must(unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, 0))
	}
}

// replaceKind puts a directory in place of something, or a file.
func (m *mutator) replaceKind() {
	p := m.pick(m.paths(false))
	if p == m.root {
		return
	}
	m.must(os.RemoveAll(p))
	if m.rng.IntN(2) == 0 {
		m.must(os.Mkdir(p, 0o750))
		inner := filepath.Join(p, m.pick(names))
		m.must(os.WriteFile(inner, m.content(), 0o600))
		m.stamp(inner)
		return
	}
	m.must(os.WriteFile(p, m.content(), 0o600))
	m.stamp(p)
}

// mutate makes n random changes below root.
func mutate(t testing.TB, seed uint64, root string, n int) {
	t.Helper()
	m := &mutator{t: t, rng: rand.New(rand.NewPCG(seed, 99)), root: root}
	for range n {
		m.step()
	}
}

// listing describes a tree, one line a file, the way two equal trees agree.
// Times are cut to seconds, because tars are. Sockets are left out, and so is
// which files share an inode: overlayfs separates them when it copies one up.
func listing(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		rel := p[len(root)+1:]
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return nil
		}
		fmt.Fprintf(&b, "%s %o %d:%d dev %d", rel, st.Mode, st.Uid, st.Gid, st.Rdev)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			fmt.Fprintf(&b, " %d", st.Mtim.Sec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %x", len(data), data[:min(4, len(data))])
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", target)
		}
		var value [64]byte
		if n, err := unix.Lgetxattr(p, "security.capability", value[:]); err == nil {
			fmt.Fprintf(&b, " caps %x", value[:n])
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// layers is a pile of overlay layer directories, as a snapshotter keeps them.
type layers struct {
	t    testing.TB
	dir  string
	dirs []string // topmost first
}

func newLayers(t testing.TB) *layers {
	t.Helper()
	return &layers{t: t, dir: t.TempDir()}
}

// mounts are those of the n lowest layers, read-only.
func (l *layers) mounts(n int) []mount.Mount {
	dirs := l.dirs[len(l.dirs)-n:]
	switch n {
	case 0:
		return nil
	case 1:
		return []mount.Mount{{Type: "bind", Source: dirs[0], Options: []string{"rbind", "ro"}}}
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"index=off", "lowerdir=" + strings.Join(dirs, ":")}}}
}

// push adds an empty layer and returns the mounts to write into it.
func (l *layers) push() []mount.Mount {
	l.t.Helper()
	top := filepath.Join(l.dir, fmt.Sprint(len(l.dirs)))
	upper, work := filepath.Join(top, "fs"), filepath.Join(top, "work")
	for _, d := range []string{top, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	lower := l.dirs
	l.dirs = append([]string{upper}, l.dirs...)
	if len(lower) == 0 {
		return []mount.Mount{{Type: "bind", Source: upper, Options: []string{"rbind", "rw"}}}
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"index=off",
		"workdir=" + work, "upperdir=" + upper, "lowerdir=" + strings.Join(lower, ":")}}}
}

// at mounts and calls fn with the root.
func at(t testing.TB, mounts []mount.Mount, fn func(root string)) {
	t.Helper()
	root := t.TempDir()
	if len(mounts) > 0 {
		if err := mount.All(mounts, root); err != nil {
			t.Fatal("mount:", err)
		}
		defer func() {
			if err := mount.UnmountAll(root, 0); err != nil {
				t.Error("unmount:", err)
			}
		}()
	}
	fn(root)
}
