package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestConformance(t *testing.T) {
	// The suite expects of a snapshotter with this name what overlay does: a
	// directory of a lower layer can not be renamed.
	testsuite.SnapshotterSuite(t, "overlayfs", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		s, err := New(ctx, root, Config{NoSyncOnCommit: true, NoMetadataSync: true})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
}

// quick is the configuration of tests that are not about durability.
var quick = Config{NoSyncOnCommit: true, NoMetadataSync: true}

func open(t testing.TB, root string, cfg Config) *Snapshotter {
	t.Helper()
	s, err := New(t.Context(), root, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// files is the content of a layer to write: path → content; a path that ends in
// a slash is a directory, and content "-" removes what is there.
type files map[string]string

func (f files) write(t testing.TB, dir string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(f)) { // a removal before what replaces it
		full, content := filepath.Join(dir, path), f[path]
		var err error
		switch {
		case content == "-":
			err = os.RemoveAll(full)
		case path[len(path)-1] == '/':
			err = os.MkdirAll(full, 0o755)
		default:
			if err = os.MkdirAll(filepath.Dir(full), 0o755); err == nil {
				err = os.WriteFile(full, []byte(content), 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// mounted mounts with Mount, runs fn, unmounts.
func mounted(t testing.TB, mounts []mount.Mount, fn func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	if err := Mount(mounts, dir); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := mount.UnmountAll(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	fn(dir)
}

// layer commits name on parent with the given files, through a real mount.
func layer(t testing.TB, s *Snapshotter, name, parent string, f files) {
	t.Helper()
	mounts, err := s.Prepare(t.Context(), name+"-active", parent)
	if err != nil {
		t.Fatal(err)
	}
	mounted(t, mounts, func(dir string) { f.write(t, dir) })
	if err := s.Commit(t.Context(), name, name+"-active"); err != nil {
		t.Fatal(err)
	}
}

// tree reads all files below dir; every entry that a listing shows must exist.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		got[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantTree(t testing.TB, s *Snapshotter, mounts []mount.Mount, want map[string]string) {
	t.Helper()
	mounted(t, mounts, func(dir string) {
		if got := tree(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("content\n got %v\nwant %v", got, want)
		}
	})
}

func TestErrorKinds(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"a": "1"})
	layer(t, s, "top", "base", files{"b": "1"})
	must := func(_ []mount.Mount, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Prepare(ctx, "active", "top"))
	must(s.View(ctx, "view", "top"))
	second := func(_ any, err error) error { return err }
	for _, c := range []struct {
		name string
		err  error
		kind error
	}{
		{"stat nothing", second(s.Stat(ctx, "x")), errdefs.ErrNotFound},
		{"usage of nothing", second(s.Usage(ctx, "x")), errdefs.ErrNotFound},
		{"mounts of nothing", second(s.Mounts(ctx, "x")), errdefs.ErrNotFound},
		{"mounts of committed", second(s.Mounts(ctx, "base")), errdefs.ErrFailedPrecondition},
		{"prepare twice", second(s.Prepare(ctx, "active", "top")), errdefs.ErrAlreadyExists},
		{"view over active", second(s.View(ctx, "active", "top")), errdefs.ErrAlreadyExists},
		{"prepare without name", second(s.Prepare(ctx, "", "top")), errdefs.ErrInvalidArgument},
		{"prepare on active", second(s.Prepare(ctx, "n", "active")), errdefs.ErrInvalidArgument},
		{"prepare on nothing", second(s.Prepare(ctx, "n", "x")), errdefs.ErrNotFound},
		{"bad mapping", second(s.Prepare(ctx, "n", "", snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotUIDMapping: "1:2"}))), errdefs.ErrInvalidArgument},
		{"commit onto committed", s.Commit(ctx, "base", "active"), errdefs.ErrAlreadyExists},
		{"commit nothing", s.Commit(ctx, "n", "x"), errdefs.ErrNotFound},
		{"commit a view", s.Commit(ctx, "n", "view"), errdefs.ErrFailedPrecondition},
		{"commit with another parent", s.Commit(ctx, "n", "active", snapshots.WithParent("base")), errdefs.ErrInvalidArgument},
		{"remove parent", s.Remove(ctx, "base"), errdefs.ErrFailedPrecondition},
		{"remove nothing", s.Remove(ctx, "x"), errdefs.ErrNotFound},
		{"update nothing", second(s.Update(ctx, snapshots.Info{Name: "x"})), errdefs.ErrNotFound},
		{"update the parent", second(s.Update(ctx, snapshots.Info{Name: "top"}, "parent")), errdefs.ErrInvalidArgument},
		{"upper of view", second(s.UpperDir(ctx, "view")), errdefs.ErrFailedPrecondition},
		{"index of none", second(s.Index(ctx, "base")), errdefs.ErrNotFound},
		{"index of view", s.SetIndex(ctx, "view", nil), errdefs.ErrFailedPrecondition},
		{"bad filter", s.Walk(ctx, nil, "name=="), nil},
	} {
		if c.err == nil || c.kind != nil && !errors.Is(c.err, c.kind) {
			t.Errorf("%s: got %v, want %v", c.name, c.err, c.kind)
		}
	}
	// Nothing of the failures is left.
	entries, err := os.ReadDir(filepath.Join(s.layout.root, fsName))
	if err != nil || len(entries) != 3 {
		t.Errorf("%d layer directories (%v), want those of base, top and active", len(entries), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(ctx, "base"); !errdefs.IsUnavailable(err) {
		t.Errorf("stat after close: %v", err)
	}
}

func TestConfigRefusesWhatCanNotBeMounted(t *testing.T) {
	for _, c := range []struct {
		root    string
		options []string
	}{
		{t.TempDir() + "/a:b", nil},
		{t.TempDir() + "/a,b", nil},
		{t.TempDir(), []string{"lowerdir=/x"}},
		{t.TempDir(), []string{"a,b"}},
		{t.TempDir(), []string{""}},
	} {
		if _, err := New(t.Context(), c.root, Config{MountOptions: c.options}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("root %s, options %q: %v", c.root, c.options, err)
		}
	}
	s := open(t, t.TempDir(), Config{MountOptions: []string{"index=on"}})
	for _, o := range s.options {
		if o == "index=off" {
			t.Error("a configured option was overridden")
		}
	}
}

func TestLabels(t *testing.T) {
	ctx := t.Context()
	now := time.Unix(100, 0)
	cfg := quick
	cfg.Now = func() time.Time { now = now.Add(time.Second); return now }
	s := open(t, t.TempDir(), cfg)
	if _, err := s.Prepare(ctx, "k", "", snapshots.WithLabels(map[string]string{"a": "1", snapshots.LabelSnapshotRef: "r"})); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, "n", "k", snapshots.WithLabels(map[string]string{"b": "2", "c": "3"})); err != nil {
		t.Fatal(err)
	}
	info, err := s.Update(ctx, snapshots.Info{Name: "n", Labels: map[string]string{"b": "", "d": "4"}}, "labels.b", "labels.d")
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(info.Labels) != "map[c:3 d:4]" || !info.Updated.After(info.Created) {
		t.Errorf("after update: %+v", info)
	}
	count := func(filter ...string) (n int) {
		if err := s.Walk(ctx, func(context.Context, snapshots.Info) error { n++; return nil }, filter...); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for filter, want := range map[string]int{
		`labels."c"==3`: 1, `labels."c"==4`: 0, `kind==committed`: 1, `kind==active`: 0, `name==n`: 1, `parent==n`: 0,
	} {
		if got := count(filter); got != want {
			t.Errorf("filter %s: %d, want %d", filter, got, want)
		}
	}
}

// A walk in several transactions sees each snapshot once, and its callback may
// change the state.
func TestWalkBatches(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	const n = 2*walkBatch + 7
	for i := range n {
		if _, err := s.View(ctx, fmt.Sprintf("v%04d", i), ""); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	err := s.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		seen[info.Name]++
		return s.Remove(ctx, info.Name)
	})
	if err != nil || len(seen) != n {
		t.Fatalf("saw %d of %d: %v", len(seen), n, err)
	}
}

func TestUsage(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"big": string(make([]byte, 1<<20))})
	mounts, err := s.Prepare(ctx, "k", "base")
	if err != nil {
		t.Fatal(err)
	}
	empty, err := s.Usage(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	mounted(t, mounts, func(dir string) {
		files{"d/f": string(make([]byte, 64<<10))}.write(t, dir)
		if err := os.Link(filepath.Join(dir, "d/f"), filepath.Join(dir, "d/g")); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, "d/f"), 1<<30); err != nil { // sparse
			t.Fatal(err)
		}
	})
	active, err := s.Usage(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	// The directory, the file, once; not the base; not the hole.
	if active.Inodes-empty.Inodes != 2 || active.Size < 64<<10 || active.Size > 256<<10 {
		t.Errorf("usage %+v, empty %+v", active, empty)
	}
	if err := s.Commit(ctx, "n", "k"); err != nil {
		t.Fatal(err)
	}
	if committed, err := s.Usage(ctx, "n"); err != nil || committed != active {
		t.Errorf("committed usage %+v, %v, active %+v", committed, err, active)
	}
}

// The root directory of a snapshot is the upper one, so it must look like the
// parent's, whatever the umask.
func TestRootDirectoryIsInherited(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	mounts, err := s.Prepare(ctx, "k", "")
	if err != nil {
		t.Fatal(err)
	}
	mounted(t, mounts, func(dir string) {
		if err := errors.Join(os.Chown(dir, 7, 8), os.Chmod(dir, 0o1777|os.ModeSticky)); err != nil {
			t.Fatal(err)
		}
	})
	if err := s.Commit(ctx, "n", "k"); err != nil {
		t.Fatal(err)
	}
	if mounts, err = s.Prepare(ctx, "k2", "n"); err != nil {
		t.Fatal(err)
	}
	mounted(t, mounts, func(dir string) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil || st.Mode&0o7777 != 0o1777 || st.Uid != 7 || st.Gid != 8 {
			t.Errorf("root is %o %d:%d (%v)", st.Mode&0o7777, st.Uid, st.Gid, err)
		}
	})
	if _, err := s.Prepare(ctx, "k3", "", snapshots.WithLabels(map[string]string{
		snapshots.LabelSnapshotUIDMapping: "0:1000:10", snapshots.LabelSnapshotGIDMapping: "5:9:1,0:2000:10",
	})); err != nil {
		t.Fatal(err)
	}
	upper, err := s.UpperDir(ctx, "k3")
	var st unix.Stat_t
	if err := errors.Join(err, unix.Stat(upper, &st)); err != nil || st.Uid != 1000 || st.Gid != 2000 {
		t.Errorf("mapped root is %d:%d (%v)", st.Uid, st.Gid, err)
	}
}

func TestRebaseAtCommit(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"a": "1"})
	mounts, err := s.Prepare(ctx, "k", "")
	if err != nil {
		t.Fatal(err)
	}
	mounted(t, mounts, func(dir string) { files{"b": "2"}.write(t, dir) })
	if err := s.Commit(ctx, "n", "k", snapshots.WithParent("base")); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, "base"); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("remove of new parent: %v", err)
	}
	if mounts, err = s.View(ctx, "v", "n"); err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"a": "1", "b": "2"})
}

func TestIndex(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	if _, err := s.Prepare(ctx, "k", ""); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{"first", "second"} {
		if err := s.SetIndex(ctx, "k", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(ctx, "n", "k"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Index(ctx, "n"); err != nil || string(got) != "second" {
		t.Errorf("index %q, %v", got, err)
	}
	if err := s.Remove(ctx, "n"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Index(ctx, "n"); !errdefs.IsNotFound(err) {
		t.Errorf("index of removed: %v", err)
	}
	if entries, err := os.ReadDir(filepath.Join(s.layout.root, indexName)); err != nil || len(entries) != 0 {
		t.Errorf("left in index/: %v, %v", entries, err)
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(crashChildEnv) != "" {
		crashChild()
	}
	os.Exit(run(m))
}

// run gives the tests a temporary directory of their own, and fails if they
// leave anything mounted in it.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "snapshotter-test-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Setenv("TMPDIR", dir)
	code := m.Run()
	left, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil || len(left) > 0 {
		fmt.Printf("%d mounts left behind, %v\n", len(left), err)
		// Leave the files: deleting would reach through the mounts.
		os.Exit(1)
	}
	return code
}
