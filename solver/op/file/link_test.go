package file

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// inode returns the file in a ref's own layer.
func (w *world) inode(r *ref.Ref, p string) unix.Stat_t {
	w.t.Helper()
	dir, ok := r.UpperDir(context.Background())
	if !ok {
		w.t.Fatal("no layer directory")
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, p), &st); err != nil {
		w.t.Fatal(err)
	}
	return st
}

func (w *world) must(refs []*ref.Ref, err error) *ref.Ref {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return refs[0]
}

func TestLinksWhereNothingChanges(t *testing.T) {
	w := newWorld(t)
	source := w.files(w.files(nil, "d/a:A"), "d/b:B", "0644 5:5 d/owned:o")
	base := w.files(nil, "d/x:X")
	lower, upper := w.inode(source.Chain()[0], "d/a"), w.inode(source, "d/b")
	same := func(r *ref.Ref, p string, st unix.Stat_t) bool { return w.inode(r, p).Ino == st.Ino }

	out := w.must(w.do(Config{}, []*ref.Ref{base, source}, chained(2, copyOf("d", "/d", byID(0, 0)))...))
	if !same(out, "d/a", lower) || !same(out, "d/b", upper) {
		t.Error("files of both layers should be linked")
	}
	if same(out, "d/owned", w.inode(source, "d/owned")) {
		t.Error("a file was linked although its owner changes")
	}
	expect(t, w.describe(source), nil, []string{"d/", "d/a:A", "d/b:B", "0644 5:5 d/owned:o"})

	for name, flags := range map[string]copyFlags{
		"mode": mode(0o600), "mode text": modeText("u+x"), "time": func(c *pb.FileActionCopy) { c.Timestamp = 5 },
	} {
		out := w.must(w.do(Config{}, []*ref.Ref{base, source}, chained(2, copyOf("d/b", "/b", flags))...))
		if same(out, "b", upper) {
			t.Errorf("a file was linked although its %s changes", name)
		}
	}
	if st := w.inode(source, "d/b"); st.Mode&permBits != 0o644 {
		t.Error("the source changed")
	}
}

// TestDistinctFilesStayDistinct copies a file twice, within a layer and to a
// file system that has it already.
func TestDistinctFilesStayDistinct(t *testing.T) {
	w := newWorld(t)
	var lines []string
	for i := range 2 * fewShared {
		lines = append(lines, fmt.Sprintf("d/f%d:%d", i, i))
	}
	source := w.files(nil, lines...)
	distinct := func(r *ref.Ref) {
		t.Helper()
		for _, l := range w.describe(r) {
			if strings.Contains(l, "=") {
				t.Fatalf("hard link %s", l)
			}
		}
	}
	first := w.must(w.do(Config{}, []*ref.Ref{nil, source}, chained(2, copyOf("d", "/x"), copyOf("d", "/y"))...))
	distinct(first)
	second := w.must(w.do(Config{}, []*ref.Ref{first, source}, chained(2, copyOf("d", "/z"))...))
	distinct(second)
	if w.inode(second, "z/f9").Nlink > 1 {
		t.Error("a file was linked that is below already")
	}
	distinct(w.must(w.do(Config{}, []*ref.Ref{source, source}, chained(2, copyOf("d", "/z"))...)))
	// Files with other names elsewhere are linked once that is known.
	other := w.must(w.do(Config{}, []*ref.Ref{w.files(nil, "o:o"), source}, chained(2, copyOf("d", "/x"))...))
	linked := 0
	for i := range 2 * fewShared {
		if w.inode(other, fmt.Sprintf("x/f%d", i)).Nlink > 1 {
			linked++
		}
	}
	if linked != fewShared {
		t.Errorf("%d files are linked, want %d", linked, fewShared)
	}
}

// TestSharedFilesAreNotWritten runs actions that would write into a linked file.
func TestSharedFilesAreNotWritten(t *testing.T) {
	w := newWorld(t)
	source := w.files(nil, "a:original", "b:other")
	for _, next := range []*pb.FileAction{mkfileOf("/a", "x"), rmOf("/a", false, false), symlinkOf("b", "/l"), copyOf("b", "/a")} {
		w.must(w.do(Config{}, []*ref.Ref{nil, source}, chained(2, copyOf("/", "/"), next)...))
		expect(t, w.describe(source), nil, []string{"a:original", "b:other"})
	}
}

// TestBothWaysAgree runs random actions on random trees, linked and mounted,
// and compares what comes out.
func TestBothWaysAgree(t *testing.T) {
	w := newWorld(t)
	start, succeeded, layered := time.Now(), 0, 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		source, base := w.random(rng, randomNames), w.random(rng, []string{"a", "p", "q", "r", "dd"})
		var actions []*pb.FileAction
		for range 1 + rng.IntN(2) {
			actions = append(actions, randomAction(rng))
		}
		actions = chained(2, actions...)
		var trees []string
		for _, cfg := range []Config{{}, {NoLinks: true}} {
			out, err := w.do(cfg, []*ref.Ref{base, source}, actions...)
			if err != nil {
				trees = append(trees, "error "+err.Error())
				continue
			}
			succeeded++
			if !cfg.NoLinks && w.hasLinks(out[0]) {
				layered++
			}
			lines := append(w.describe(out[0]), w.dates(out[0], start)...)
			trees = append(trees, strings.Join(append(lines, string(w.contentDigest(out[0], "/"))), "\n"))
		}
		if trees[0] != trees[1] {
			t.Fatalf("seed %d: %v\nlinked:\n%s\nmounted:\n%s", seed, actions, trees[0], trees[1])
		}
	}
	if succeeded < 30 || layered < 5 {
		t.Errorf("%d runs succeeded, %d linked something: too few to mean anything", succeeded, layered)
	}
}

// hasLinks reports whether the ref's own layer has files with other names.
func (w *world) hasLinks(r *ref.Ref) bool {
	dir, _ := r.UpperDir(context.Background())
	found := false
	_ = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && d.Type().IsRegular() && unix.Lstat(p, &st) == nil && st.Nlink > 1 {
			found = true
		}
		return err
	})
	return found
}

// dates lists modification times; those of this test are the same.
func (w *world) dates(r *ref.Ref, start time.Time) []string {
	w.t.Helper()
	dir, release, err := r.Dir(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	defer release()
	var out []string
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err == nil && info.ModTime().Before(start.Add(-time.Hour)) {
			rel, _ := filepath.Rel(dir, p)
			out = append(out, fmt.Sprint(rel, " ", info.ModTime().UnixNano()))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

var randomNames = []string{"a", "b", "c", "dd"}

func randomPath(rng *rand.Rand, names ...string) string {
	if len(names) == 0 {
		names = append(randomNames, "p", "q")
	}
	var parts []string
	for range 1 + rng.IntN(3) {
		parts = append(parts, names[rng.IntN(len(names))])
	}
	return strings.Join(parts, "/")
}

// random makes a file system of a few layers with all kinds of files, dated in
// the past.
func (w *world) random(rng *rand.Rand, names []string) *ref.Ref {
	var r *ref.Ref
	for range 1 + rng.IntN(3) {
		r = w.layer(r, func(dir string) {
			for range 4 + rng.IntN(10) {
				p := randomPath(rng, names...)
				full := filepath.Join(dir, p)
				if throughLink(dir, p) {
					continue // the test itself must not leave the tree
				}
				if rng.IntN(5) == 0 {
					_ = os.RemoveAll(full)
				}
				line := p
				switch rng.IntN(7) {
				case 0:
					line += "->" + []string{"/", "../", ""}[rng.IntN(3)] + randomPath(rng)
				case 1:
				case 2:
					line += "=" + randomPath(rng)
				case 3:
					line = fmt.Sprintf("0%o %d:%d %s:%d", rng.IntN(0o10000), rng.IntN(3), rng.IntN(3), p, rng.Int())
				default:
					line += fmt.Sprintf(":%d", rng.Int())
				}
				_ = writeLine(dir, line) // often something is in the way
				if rng.IntN(4) == 0 {
					_ = unix.Lsetxattr(full, "user.x", []byte{byte(rng.Int())}, 0)
				}
				ts := unix.NsecToTimespec(int64(rng.IntN(1000)))
				_ = unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
			}
		})
	}
	return r
}

// throughLink reports whether a link is on the way to p or at its end.
func throughLink(dir, p string) bool {
	for ; p != "."; p = filepath.Dir(p) {
		if info, err := os.Lstat(filepath.Join(dir, p)); err == nil && info.Mode()&os.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

func randomAction(rng *rand.Rand) *pb.FileAction {
	switch rng.IntN(14) {
	case 0:
		return mkdirOf("/"+randomPath(rng), func(a *pb.FileActionMkDir) { a.MakeParents = rng.IntN(2) == 0 })
	case 1:
		return mkfileOf("/"+randomPath(rng), "new")
	case 2:
		return rmOf("/"+randomPath(rng), false, true)
	case 3:
		return symlinkOf(randomPath(rng), "/"+randomPath(rng))
	}
	src := []string{"/", "/.", "*", "?", "*/*", "a", "b/", "?/" + randomPath(rng)}[rng.IntN(8)]
	dest := []string{"/", "/new", "/new/", "/" + randomPath(rng), "/" + randomPath(rng) + "/", "/dd/new"}[rng.IntN(6)]
	a := copyOf(src, dest)
	c := a.GetCopy()
	for _, flag := range []*bool{&c.DirCopyContents, &c.FollowSymlink, &c.AllowWildcard, &c.CreateDestPath} {
		*flag = rng.IntN(4) > 0
	}
	c.AlwaysReplaceExistingDestPaths, c.AllowEmptyWildcard = rng.IntN(4) == 0, rng.IntN(4) > 0
	switch rng.IntN(6) {
	case 0:
		c.ModeStr = "u+x,g-w"
	case 1:
		c.Mode = 0o751
	case 2:
		c.Owner = &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: uint32(rng.IntN(3))}}}
	case 3:
		c.IncludePatterns = []string{"**/" + randomNames[rng.IntN(4)]}
	case 4:
		c.ExcludePatterns = []string{randomNames[rng.IntN(4)], "!**/c"}
	}
	return a
}
