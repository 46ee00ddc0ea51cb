package snapshotter

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

func TestStackRuns(t *testing.T) {
	for _, c := range []struct {
		runs [][]uint64
		want string
	}{
		{nil, "[]"},
		{[][]uint64{{2, 1}}, "[2 1]"},
		{[][]uint64{{2, 1}, {4, 3}}, "[4 3 2 1]"},
		{[][]uint64{{2, 1}, {3, 1}}, "[3 1 2]"},         // a common base
		{[][]uint64{{3, 1}, {2, 1}, {3, 1}}, "[3 1 2]"}, // the last one wins
		{[][]uint64{{1}, {1}}, "[1]"},
	} {
		if got := fmt.Sprint(stackRuns(c.runs)); got != c.want {
			t.Errorf("%v: %s, want %s", c.runs, got, c.want)
		}
	}
}

// mergeWorld is a base with two branches, and something unrelated.
func mergeWorld(t *testing.T) *Snapshotter {
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"etc/conf": "base", "etc/gone": "base", "lib/a": "base"})
	layer(t, s, "left", "base", files{"etc/conf": "left", "left": "1"})
	layer(t, s, "right", "base", files{"etc/conf": "right", "etc/gone": "-", "right": "1", "lib": "-", "lib/b": "right"})
	layer(t, s, "other", "", files{"etc/gone": "other", "other": "1", "lib/a": "other"})
	return s
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name  string
		spans []Span
		want  files
	}{
		{"one", []Span{{Upper: "left"}}, files{"etc/conf": "left", "etc/gone": "base", "lib/a": "base", "left": "1"}},
		// base is applied again with the second chain, so its files come back.
		{"left then right", []Span{{Upper: "left"}, {Upper: "right"}}, files{"etc/conf": "right", "left": "1", "right": "1", "lib/b": "right"}},
		{"right then left", []Span{{Upper: "right"}, {Upper: "left"}}, files{"etc/conf": "left", "etc/gone": "base", "left": "1", "right": "1", "lib/a": "base", "lib/b": "right"}},
		{"difference", []Span{{Upper: "right", Lower: "base"}}, files{"etc/conf": "right", "right": "1", "lib/b": "right"}},
		{"left and what right changed", []Span{{Upper: "left"}, {Upper: "right", Lower: "base"}}, files{"etc/conf": "right", "left": "1", "right": "1", "lib/b": "right"}},
		{"deletions reach other chains", []Span{{Upper: "other"}, {Upper: "right", Lower: "base"}}, files{"etc/conf": "right", "other": "1", "right": "1", "lib/b": "right"}},
		{"empty difference", []Span{{Upper: "other"}, {Upper: "base", Lower: "base"}}, files{"etc/gone": "other", "other": "1", "lib/a": "other"}},
		{"nothing", nil, files{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			s := mergeWorld(t)
			mounts, err := s.Merge(ctx, "m", c.spans)
			if err != nil {
				t.Fatal(err)
			}
			wantTree(t, s, mounts, c.want)
			// The same as a view, and as the parent of a child that writes.
			if mounts, err = s.View(ctx, "v", "", WithSpans(c.spans...)); err != nil {
				t.Fatal(err)
			}
			wantTree(t, s, mounts, c.want)
			if err := s.Commit(ctx, "merged", "m"); err != nil {
				t.Fatal(err)
			}
			usage, err := s.Usage(ctx, "merged")
			if err != nil || usage.Inodes != 1 {
				t.Errorf("usage of a merge %+v, %v: more than its own directory", usage, err)
			}
			layer(t, s, "child", "merged", files{"child": "1", "etc/conf": "child"})
			want := files{"child": "1"}
			for path, content := range c.want {
				want[path] = content
			}
			want["etc/conf"] = "child"
			if mounts, err = s.View(ctx, "w", "child"); err != nil {
				t.Fatal(err)
			}
			wantTree(t, s, mounts, want)
		})
	}
}

// A merge of merges, with a common base in all of them, stacks each layer once.
func TestMergeOfMerges(t *testing.T) {
	ctx := t.Context()
	s := mergeWorld(t)
	for _, m := range [][]string{{"m1", "left", "right"}, {"m2", "right", "left"}, {"m3", "m1", "m2"}} {
		if _, err := s.Merge(ctx, "a", []Span{{Upper: m[1]}, {Upper: m[2]}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(ctx, m[0], "a"); err != nil {
			t.Fatal(err)
		}
	}
	lower, err := s.LowerDirs(ctx, "m3")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lower)
	if n := len(lower); n != 5 || len(slices.Compact(lower)) != n {
		t.Errorf("lower directories %v", lower)
	}
	mounts, err := s.View(ctx, "v", "m3")
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"etc/conf": "left", "etc/gone": "base", "left": "1", "right": "1", "lib/a": "base", "lib/b": "right"})
}

func TestMergeKeepsItsParents(t *testing.T) {
	ctx := t.Context()
	s := mergeWorld(t)
	if _, err := s.Merge(ctx, "m", []Span{{Upper: "left"}, {Upper: "right", Lower: "base"}, {Upper: "other"}}); err != nil {
		t.Fatal(err)
	}
	inUse := func() {
		t.Helper()
		for _, name := range []string{"left", "right", "other", "base"} {
			if err := s.Remove(ctx, name); !errdefs.IsFailedPrecondition(err) {
				t.Errorf("remove %s below a merge: %v", name, err)
			}
		}
	}
	inUse()
	if err := s.Commit(ctx, "merged", "m"); err != nil {
		t.Fatal(err)
	}
	inUse()
	if info, err := s.Stat(ctx, "merged"); err != nil || info.Parent != "left" {
		t.Errorf("stat %+v, %v", info, err)
	}
	for _, name := range []string{"merged", "left", "right", "other", "base"} {
		if err := s.Remove(ctx, name); err != nil {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	if err := s.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, s)
}

func TestMergeRefuses(t *testing.T) {
	s := mergeWorld(t)
	label := func(n int, v string) snapshots.Opt {
		return snapshots.WithLabels(map[string]string{labelSpans + fmt.Sprint(n): v})
	}
	for name, c := range map[string]struct {
		opt  snapshots.Opt
		kind func(error) bool
	}{
		"not an ancestor":  {WithSpans(Span{Upper: "left", Lower: "right"}), errdefs.IsInvalidArgument},
		"upside down":      {WithSpans(Span{Upper: "base", Lower: "left"}), errdefs.IsInvalidArgument},
		"missing upper":    {WithSpans(Span{Upper: "x"}), errdefs.IsNotFound},
		"missing lower":    {WithSpans(Span{Upper: "left", Lower: "x"}), errdefs.IsNotFound},
		"not JSON":         {label(0, "left"), errdefs.IsInvalidArgument},
		"a triple":         {label(0, `[["left","base","x"]]`), errdefs.IsInvalidArgument},
		"no upper":         {label(0, `[["",""]]`), errdefs.IsInvalidArgument},
		"gap in numbering": {label(1, `[["left",""]]`), errdefs.IsInvalidArgument},
		"too many":         {label(0, "["+strings.Repeat(`["left",""],`, MaxLayers)+`["left",""]]`), errdefs.IsOutOfRange},
	} {
		if _, err := s.Prepare(t.Context(), "m", "", c.opt); err == nil || !c.kind(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Through containerd's metadata layer names are those of a namespace, and the
// layers of another namespace are out of reach.
func TestMergeThroughMetadata(t *testing.T) {
	s := open(t, t.TempDir(), quick)
	db, err := bolt.Open(filepath.Join(t.TempDir(), "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mdb := metadata.NewDB(db, nil, map[string]snapshots.Snapshotter{"kiln": s})
	if err := mdb.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	front := mdb.Snapshotter("kiln")
	commit := func(ctx context.Context, name string, f files) {
		t.Helper()
		mounts, err := front.Prepare(ctx, name+"-a", "")
		if err != nil {
			t.Fatal(err)
		}
		mounted(t, mounts, func(dir string) { f.write(t, dir) })
		if err := front.Commit(ctx, name, name+"-a"); err != nil {
			t.Fatal(err)
		}
	}
	one, two := namespaces.WithNamespace(t.Context(), "one"), namespaces.WithNamespace(t.Context(), "two")
	commit(one, "a", files{"a": "1"})
	commit(one, "b", files{"b": "1"})
	commit(two, "secret", files{"s": "1"})
	mounts, err := Merge(one, front, "m", []Span{{Upper: "a"}, {Upper: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	wantTree(t, s, mounts, files{"a": "1", "b": "1"})
	var foreign string
	if err := s.Walk(one, func(_ context.Context, i snapshots.Info) error {
		foreign = i.Name
		return nil
	}, `name~="secret$"`); err != nil || foreign == "" {
		t.Fatal(foreign, err)
	}
	for _, name := range []string{"secret", foreign} {
		if _, err := Merge(one, front, "n", []Span{{Upper: "a"}, {Upper: name}}); !errdefs.IsNotFound(err) {
			t.Errorf("merge of %s: %v", name, err)
		}
	}
	// Names of clients work for code in the process, in their namespace only.
	if lower, err := s.LowerDirs(one, "m"); err != nil || len(lower) != 2 {
		t.Errorf("lower directories %v, %v", lower, err)
	}
	if _, err := s.UpperDir(two, "a"); !errdefs.IsNotFound(err) {
		t.Errorf("upper directory in another namespace: %v", err)
	}
	// A name that is used again means the newest.
	if err := front.Remove(one, "m"); err != nil {
		t.Fatal(err)
	}
	if err := front.Remove(one, "b"); err != nil {
		t.Fatal(err)
	}
	commit(one, "b", files{"b": "2"})
	if upper, err := s.UpperDir(one, "b"); err != nil || tree(t, upper)["b"] != "2" {
		t.Errorf("upper directory of reused name: %s, %v", upper, err)
	}
	if _, err := mdb.GarbageCollect(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSpanLabelsFitContainerd(t *testing.T) {
	var spans []Span
	for i := range MaxLayers {
		spans = append(spans, Span{Upper: fmt.Sprintf("sha256:%064d", i), Lower: fmt.Sprintf(`"%d"`, i)})
	}
	labels, err := spanLabels(spans)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range labels {
		if len(k)+len(v) > 4096 {
			t.Errorf("label %s has %d bytes", k, len(k)+len(v))
		}
	}
	if got, err := spansOf(snapshots.FilterInheritedLabels(labels)); err != nil || !slices.Equal(got, spans) {
		t.Errorf("%d of %d spans came back: %v", len(got), len(spans), err)
	}
}

func FuzzSpans(f *testing.F) {
	f.Add(`[["left","base"]]`, `[["x",""]]`)
	f.Add(`[]`, `null`)
	f.Add(`[["a"]]`, ``)
	f.Fuzz(func(t *testing.T, a, b string) {
		spans, err := spansOf(map[string]string{labelSpans + "0": a, labelSpans + "1": b})
		if err != nil {
			return
		}
		labels, err := spanLabels(spans)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := spansOf(labels); err != nil || !slices.Equal(again, spans) {
			t.Fatalf("%v became %v, %v", spans, again, err)
		}
	})
}

// Whiteouts of a span must not show when the layer they delete from is absent:
// neither those overlay wrote, nor, with overlay.origin, those an applier did.
func TestSpanHidesWhiteouts(t *testing.T) {
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	layer(t, s, "base", "", files{"d/e/x": "1", "d/e/y": "1", "z": "1"})
	layer(t, s, "top", "base", files{"d/e/x": "-", "z": "-"})
	if _, err := s.Prepare(ctx, "k", "base"); err != nil {
		t.Fatal(err)
	}
	upper, err := s.UpperDir(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	files{"f/": ""}.write(t, upper)
	if err := unix.Mknod(filepath.Join(upper, "f/w"), unix.S_IFCHR, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setxattr(filepath.Join(upper, "f"), "trusted.overlay.origin", nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, "applied", "k"); err != nil {
		t.Fatal(err)
	}
	for i, spans := range [][]Span{
		{{Upper: "top", Lower: "base"}},
		{{Upper: "applied", Lower: "base"}},
		{{Upper: "top", Lower: "base"}, {Upper: "applied", Lower: "base"}},
	} {
		mounts, err := s.View(ctx, fmt.Sprint("v", i), "", WithSpans(spans...))
		if err != nil {
			t.Fatal(err)
		}
		wantTree(t, s, mounts, files{})
	}
}

func TestLongChain(t *testing.T) {
	const layers = 450
	ctx := t.Context()
	s := open(t, t.TempDir(), quick)
	parent := ""
	for i := range layers {
		name := fmt.Sprintf("sha256:%064d", i)
		if _, err := s.Prepare(ctx, "k", parent); err != nil {
			t.Fatal(err)
		}
		upper, err := s.UpperDir(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		files{fmt.Sprintf("f%03d", i): "x", "last": fmt.Sprint(i)}.write(t, upper)
		if err := s.Commit(ctx, name, "k"); err != nil {
			t.Fatal(err)
		}
		parent = name
	}
	active, err := s.Prepare(ctx, "active", parent)
	if err != nil {
		t.Fatal(err)
	}
	view, err := s.View(ctx, "view", parent)
	if err != nil {
		t.Fatal(err)
	}
	check := func(dir string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != layers+1 {
			t.Errorf("%d entries, %v", len(entries), err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "last")); err != nil || string(b) != fmt.Sprint(layers-1) {
			t.Errorf("last is %q, %v", b, err)
		}
	}
	if !needsAttach(&active[0]) {
		t.Fatal("the chain is not long enough for the new mount API")
	}
	mounted(t, active, func(dir string) {
		check(dir)
		files{"new": "1", "f000": "-"}.write(t, dir)
	})
	mounted(t, view, func(dir string) {
		check(dir)
		if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644); err == nil {
			t.Error("a view was written to")
		}
	})
	// Any client of containerd can mount it as well.
	dir := t.TempDir()
	if err := mount.All(view, dir); err != nil {
		t.Fatal(err)
	}
	check(dir)
	if err := mount.UnmountAll(dir, 0); err != nil {
		t.Fatal(err)
	}
	var spans []Span
	for range 2 {
		for i := range 51 {
			layer := fmt.Sprintf("x%d-%d", len(spans), i)
			if _, err := s.Prepare(ctx, "k", ""); err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(ctx, layer, "k"); err != nil {
				t.Fatal(err)
			}
			spans = append(spans, Span{Upper: layer})
		}
	}
	if _, err := s.Prepare(ctx, "long", parent, WithSpans(spans[:MaxLayers-layers]...)); err != nil {
		t.Errorf("%d layers: %v", MaxLayers, err)
	}
	if _, err := s.Prepare(ctx, "longer", parent, WithSpans(spans[:MaxLayers-layers+1]...)); !errdefs.IsOutOfRange(err) {
		t.Errorf("%d layers: %v", MaxLayers+1, err)
	}
	mounts, err := s.Mounts(ctx, "long")
	if err != nil {
		t.Fatal(err)
	}
	mounted(t, mounts, check)
}
