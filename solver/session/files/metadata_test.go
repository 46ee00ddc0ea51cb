package files_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// partial transfers what matches.
func partial(t *testing.T, src, dst string, patterns []string, previous files.Listing) (files.Listing, bool) {
	t.Helper()
	tree, err := files.OpenDir(src, files.Patterns{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	a, b := newPipe()
	sent := make(chan error, 1)
	go func() { sent <- files.Send(t.Context(), a, tree, nil) }()
	var w *files.Writer
	m, err := files.NewMetadata(&files.Mirror{Previous: previous, Trust: true, Open: func() (*files.Writer, error) {
		w, err = files.NewWriter(dst, true)
		return w, err
	}}, patterns)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Receive(t.Context(), b, m); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	listing, changed, err := m.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if w != nil {
		w.Close()
	}
	return listing, changed
}

// names lists what is in a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(dump(t, dir)) {
		name, _, _ := strings.Cut(line, " ")
		out = append(out, name)
	}
	return out
}

// listed reads a MetadataFile.
func listed(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, files.MetadataFile))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for len(b) > 0 {
		n := binary.LittleEndian.Uint32(b)
		var st fsutil.Stat
		if err := proto.Unmarshal(b[4:4+n], &st); err != nil {
			t.Fatal(err)
		}
		out = append(out, st.GetPath())
		b = b[4+n:]
	}
	return out
}

func TestMetadata(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	write(t, src, map[string]string{
		"data": "d", "dir/file1": "1", "dir/file2": "2", "dir/sub/bar1": "b", "dir/sub/bar2": "b", "dir/sub2/bar3": "b",
		"foo": "f", files.MetadataFile: "mine", "-first": "x", "whole/a/b": "w",
	})
	if err := os.Link(filepath.Join(src, "data"), filepath.Join(src, "foo-link")); err != nil {
		t.Fatal(err)
	}
	patterns := []string{"dir/**/*1", "foo*", "whole"}
	listing, changed := partial(t, src, dst, patterns, nil)
	want := []string{files.MetadataFile, "dir", "dir/file1", "dir/sub", "dir/sub/bar1", "foo", "foo-link", "whole", "whole/a", "whole/a/b"}
	if got := names(t, dst); !changed || !slices.Equal(got, want) {
		t.Errorf("transferred %q", got)
	}
	if b, err := os.ReadFile(filepath.Join(dst, "foo-link")); err != nil || string(b) != "d" {
		t.Errorf("link to what was not transferred: %q, %v", b, err)
	}
	all := []string{"-first", "data", "dir", "dir/file1", "dir/file2", "dir/sub", "dir/sub/bar1", "dir/sub/bar2",
		"dir/sub2", "dir/sub2/bar3", "foo", "foo-link", "whole", "whole/a", "whole/a/b"}
	if got := listed(t, dst); !slices.Equal(got, all) {
		t.Errorf("listed %q", got)
	}
	if !slices.IsSortedFunc(listing, func(a, b *fsutil.Stat) int { return files.ComparePath(a.GetPath(), b.GetPath()) }) {
		t.Error("the listing is out of order")
	}
	before := dump(t, dst)
	listing, changed = partial(t, src, dst, patterns, listing)
	if changed || dump(t, dst) != before {
		t.Error("changed without a change")
	}
	// Only the list differs.
	if err := os.Chtimes(filepath.Join(src, "data"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	listing, changed = partial(t, src, dst, patterns, listing)
	if !changed {
		t.Error("a new time is not listed")
	}
	if err := os.RemoveAll(filepath.Join(src, "dir/sub")); err != nil {
		t.Fatal(err)
	}
	write(t, src, map[string]string{"dir/bar1": "new"})
	partial(t, src, dst, patterns, listing)
	want = []string{files.MetadataFile, "dir", "dir/bar1", "dir/file1", "foo", "foo-link", "whole", "whole/a", "whole/a/b"}
	if got := names(t, dst); !slices.Equal(got, want) {
		t.Errorf("then transferred %q", got)
	}
	if got := listed(t, dst); slices.Contains(got, "dir/sub") || !slices.Contains(got, "dir/bar1") {
		t.Errorf("then listed %q", got)
	}
}

func TestMetadataAlone(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	write(t, src, map[string]string{"a/b": "x"})
	partial(t, src, dst, nil, nil)
	if got := names(t, dst); !slices.Equal(got, []string{files.MetadataFile}) {
		t.Errorf("transferred %q", got)
	}
	if got := listed(t, dst); !slices.Equal(got, []string{"a", "a/b"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := files.NewMetadata(&files.Mirror{}, []string{"[", "a"}); err == nil {
		t.Error("a broken pattern is taken")
	}
}
