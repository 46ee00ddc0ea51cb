package files_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// pipe connects two ends of a transfer in memory.
type pipe struct {
	in, out chan *fsutil.Packet
	gone    chan struct{}
	once    *sync.Once
}

func newPipe() (a, b pipe) {
	x, y := make(chan *fsutil.Packet, 4), make(chan *fsutil.Packet, 4)
	gone, once := make(chan struct{}), &sync.Once{}
	return pipe{x, y, gone, once}, pipe{y, x, gone, once}
}

func (p pipe) Send(m *fsutil.Packet) error {
	c := &fsutil.Packet{Type: m.Type, Stat: m.Stat, ID: m.ID, Data: append([]byte(nil), m.Data...)}
	select {
	case p.out <- c:
		return nil
	case <-p.gone:
		return io.ErrClosedPipe
	}
}

func (p pipe) Recv() (*fsutil.Packet, error) {
	select {
	case m := <-p.in:
		return m, nil
	case <-p.gone:
		return nil, io.ErrClosedPipe
	}
}

func (p pipe) Abort() { p.once.Do(func() { close(p.gone) }) }

// mirror makes dst equal to src and returns the listing and what was written.
func mirror(t *testing.T, src, dst string, patterns files.Patterns, previous files.Listing) (files.Listing, bool) {
	t.Helper()
	tree, err := files.OpenDir(src, patterns)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	a, b := newPipe()
	sent := make(chan error, 1)
	go func() { sent <- files.Send(t.Context(), a, tree, nil) }()
	var w *files.Writer
	m := &files.Mirror{Previous: previous, Trust: true, Open: func() (*files.Writer, error) {
		w, err = files.NewWriter(dst, true)
		return w, err
	}}
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

// dump describes a tree in one string.
func dump(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if rel == "." {
			return nil
		}
		fmt.Fprintf(&b, "%s %v %d", rel, fi.Mode(), fi.ModTime().UnixNano())
		switch {
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %.20q", len(data), data)
		case fi.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			fmt.Fprintf(&b, " -> %s", target)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func write(t *testing.T, dir string, content map[string]string) {
	t.Helper()
	for name, data := range content {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(data, "->"); ok {
			if err := os.Symlink(target, p); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMirrorFollowsChanges(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	write(t, src, map[string]string{
		"a": "one", "dir/b": strings.Repeat("two", 50_000), "dir/sub/c": "", "dir.x": "order", "link": "->dir/b",
	})
	if err := os.Link(filepath.Join(src, "a"), filepath.Join(src, "z")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(src, "dir/sub"), 0o500|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	listing, changed := mirror(t, src, dst, files.Patterns{}, nil)
	if !changed || dump(t, src) != dump(t, dst) {
		t.Fatalf("first transfer differs:\n%s\n%s", dump(t, src), dump(t, dst))
	}
	steps := []struct {
		name string
		do   func() error
		want bool
	}{
		{"nothing", func() error { return nil }, false},
		{"content", func() error { return os.WriteFile(filepath.Join(src, "dir/sub/c"), []byte("new"), 0o644) }, true},
		{"removed", func() error { return os.Remove(filepath.Join(src, "dir/b")) }, true},
		{"directory becomes file", func() error {
			if err := os.RemoveAll(filepath.Join(src, "dir")); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(src, "dir"), []byte("file"), 0o600)
		}, true},
		{"file becomes directory", func() error {
			if err := os.Remove(filepath.Join(src, "dir")); err != nil {
				return err
			}
			return os.MkdirAll(filepath.Join(src, "dir/deep/er"), 0o755)
		}, true},
		{"directory becomes link", func() error {
			if err := os.RemoveAll(filepath.Join(src, "dir")); err != nil {
				return err
			}
			return os.Symlink("a", filepath.Join(src, "dir"))
		}, true},
		{"mode only", func() error { return os.Chmod(filepath.Join(src, "a"), 0o4755) }, true},
		{"link elsewhere", func() error {
			if err := os.Remove(filepath.Join(src, "link")); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", filepath.Join(src, "link"))
		}, true},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		listing, changed = mirror(t, src, dst, files.Patterns{}, listing)
		if changed != s.want {
			t.Errorf("%s: changed = %v", s.name, changed)
		}
		if got, want := dump(t, dst), dump(t, src); got != want {
			t.Fatalf("%s:\ngot\n%swant\n%s", s.name, got, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	src := t.TempDir()
	write(t, src, map[string]string{
		"keep/a.go": "1", "keep/a.txt": "2", "node/x/y": "3", "node/keep": "4", "top": "5",
		"l1": "->keep/l2", "keep/l2": "->../node/x", "other/z": "6",
	})
	tests := []struct {
		name     string
		patterns files.Patterns
		want     string
	}{
		{"include", files.Patterns{Include: []string{"keep/*.go"}}, "keep keep/a.go"},
		{"exclude", files.Patterns{Exclude: []string{"**/*.txt", "node", "other", "l1", "keep/l2"}}, "keep keep/a.go top"},
		{"exclude but", files.Patterns{Exclude: []string{"*", "!node/keep"}}, "node node/keep"},
		{"both", files.Patterns{Include: []string{"keep"}, Exclude: []string{"keep/l2"}}, "keep keep/a.go keep/a.txt"},
		{"follow", files.Patterns{Follow: []string{"l1"}}, "keep keep/l2 l1 node node/x node/x/y"},
		{"follow below", files.Patterns{Follow: []string{"l1/y"}}, "keep keep/l2 l1 node node/x node/x/y"},
		{"follow wildcard", files.Patterns{Follow: []string{"t*"}}, "top"},
		{"follow missing", files.Patterns{Follow: []string{"none/at/all", "top"}}, "top"},
		{"follow root", files.Patterns{Follow: []string{"/"}, Exclude: []string{"node", "other", "keep", "l1"}}, "top"},
	}
	for _, tt := range tests {
		tree, err := files.OpenDir(src, tt.patterns)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = tree.Walk(t.Context(), func(st *fsutil.Stat) error {
			got = append(got, st.GetPath())
			return nil
		})
		tree.Close()
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
}

// play feeds packets to a receiver and returns its error.
func play(t *testing.T, dst string, packets ...*fsutil.Packet) error {
	t.Helper()
	a, b := newPipe()
	m := &files.Mirror{Open: func() (*files.Writer, error) { return files.NewWriter(dst, true) }}
	done := make(chan error, 1)
	go func() { done <- files.Receive(t.Context(), b, m) }()
	go func() {
		for _, p := range packets {
			if a.Send(p) != nil {
				return
			}
		}
	}()
	go func() {
		for {
			if _, err := a.Recv(); err != nil {
				return
			}
		}
	}()
	select {
	case err := <-done:
		a.Abort()
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the receiver waits for ever")
		return nil
	}
}

func stat(path string, mode os.FileMode, link string) *fsutil.Packet {
	return &fsutil.Packet{Stat: &fsutil.Stat{Path: path, Mode: uint32(mode), Linkname: link}}
}

func TestHostilePackets(t *testing.T) {
	data := func(id uint32, s string) *fsutil.Packet {
		return &fsutil.Packet{Type: fsutil.Packet_PACKET_DATA, ID: id, Data: []byte(s)}
	}
	tests := map[string]struct {
		packets []*fsutil.Packet
		want    string
	}{
		"absolute":        {[]*fsutil.Packet{stat("/etc/x", 0o644, "")}, "leaves the directory"},
		"parent":          {[]*fsutil.Packet{stat("../x", 0o644, "")}, "leaves the directory"},
		"unclean":         {[]*fsutil.Packet{stat("a/./b", 0o644, "")}, "leaves the directory"},
		"order":           {[]*fsutil.Packet{stat("b", 0o644, ""), stat("a", 0o644, "")}, "out of order"},
		"twice":           {[]*fsutil.Packet{stat("b", 0o644, ""), stat("b", 0o644, "")}, "out of order"},
		"through a link":  {[]*fsutil.Packet{stat("l", os.ModeSymlink, "/tmp"), stat("l/x", 0o644, "")}, "not in a directory"},
		"no parent":       {[]*fsutil.Packet{stat("a/b", 0o644, "")}, "not in a directory"},
		"unknown id":      {[]*fsutil.Packet{data(7, "x")}, "invalid file id"},
		"unasked data":    {[]*fsutil.Packet{stat("d", os.ModeDir|0o755, ""), data(0, "x")}, "invalid file id"},
		"early end":       {[]*fsutil.Packet{stat("a", 0o644, ""), {Type: fsutil.Packet_PACKET_FIN}}, "outstanding"},
		"error":           {[]*fsutil.Packet{{Type: fsutil.Packet_PACKET_ERR, Data: []byte("boom")}}, "error from sender: boom"},
		"request":         {[]*fsutil.Packet{{Type: fsutil.Packet_PACKET_REQ}}, "unexpected packet"},
		"entry after end": {[]*fsutil.Packet{{}, stat("a", 0o644, "")}, "after the end"},
		"socket":          {[]*fsutil.Packet{stat("s", os.ModeSocket|0o644, "")}, "cannot be written"},
		"empty path":      {[]*fsutil.Packet{stat("", 0o644, "")}, "invalid path"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "root")
			if err := os.Mkdir(dst, 0o755); err != nil {
				t.Fatal(err)
			}
			err := play(t, dst, tt.packets...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLinksDoNotLeadOut(t *testing.T) {
	dst, outside := t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"secret": "s"})
	w, err := files.NewWriter(dst, false)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.Symlink(outside, filepath.Join(dst, "out")); err != nil {
		t.Fatal(err)
	}
	if f, err := w.Create("out/new"); err == nil {
		f.Close()
		t.Error("wrote through a link")
	}
	if err := w.Link(&fsutil.Stat{Path: "h", Linkname: "../" + filepath.Base(outside) + "/secret"}); err == nil {
		t.Error("linked a file from outside")
	}
	if err := w.Remove("out"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
		t.Error("removed through a link:", err)
	}
}

func TestCancelledTransferEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	a, b := newPipe()
	defer a.Abort()
	why := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	err := files.Receive(ctx, b, &files.Mirror{})
	if !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}
