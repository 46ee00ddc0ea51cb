package file

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

func named(user, group string, input int64) *pb.ChownOpt {
	opt := func(name string) *pb.UserOpt {
		if name == "" {
			return nil
		}
		return &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: name, Input: input}}}
	}
	return &pb.ChownOpt{User: opt(user), Group: opt(group)}
}

func TestActions(t *testing.T) {
	w := newWorld(t)
	base := w.files(nil, "f:F", "d/x:X", "0640 3:4 own:old", "link->d", "flink->f", "gone->nowhere", "pipe|",
		"etc/passwd:app:x:7:8::/:\nother:x:9:10::/:\n", "etc/group:staff:x:50:\n", "m/a1:1", "m/a2/y:2", "m/b:3")
	all := w.describe(base)
	parents := func(a *pb.FileActionMkDir) { a.MakeParents = true }
	owned := func(o *pb.ChownOpt) func(*pb.FileActionMkDir) {
		return func(a *pb.FileActionMkDir) { a.Owner = o }
	}
	tests := map[string]struct {
		actions []*pb.FileAction
		want    []string
		err     string
	}{
		"mkdir":               {[]*pb.FileAction{mkdirOf("/n")}, []string{"n/"}, ""},
		"mkdir exists":        {[]*pb.FileAction{mkdirOf("/d")}, nil, ""},
		"mkdir on file":       {[]*pb.FileAction{mkdirOf("/f")}, nil, ""},
		"mkdir through link":  {[]*pb.FileAction{mkdirOf("/link/n")}, []string{"d/n/"}, ""},
		"mkdir no parent":     {[]*pb.FileAction{mkdirOf("/n/o")}, nil, "mkdir /n/o: no such file or directory"},
		"mkdir below file":    {[]*pb.FileAction{mkdirOf("/f/o", parents)}, nil, "mkdir /f: not a directory"},
		"mkdir parents":       {[]*pb.FileAction{mkdirOf("/n/o", parents, func(a *pb.FileActionMkDir) { a.Mode = 0o4711 })}, []string{"0711 0:0 n/", "0711 0:0 n/o/"}, ""},
		"owner by name":       {[]*pb.FileAction{mkdirOf("/n", owned(named("app", "", 0)))}, []string{"0755 7:8 n/"}, ""},
		"owner and group":     {[]*pb.FileAction{mkdirOf("/n", owned(named("other", "staff", 0)))}, []string{"0755 9:50 n/"}, ""},
		"group only":          {[]*pb.FileAction{mkdirOf("/n", owned(named("", "staff", 0)))}, []string{"0755 0:50 n/"}, ""},
		"unknown is root":     {[]*pb.FileAction{mkdirOf("/n", owned(named("nobody", "nogroup", 0)))}, []string{"n/"}, ""},
		"id brings its group": {[]*pb.FileAction{mkdirOf("/n", owned(&pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: 5}}}))}, []string{"0755 5:5 n/"}, ""},
		"mkfile":              {[]*pb.FileAction{mkfileOf("/n", "new")}, []string{"n:new"}, ""},
		"mkfile over":         {[]*pb.FileAction{mkfileOf("/own", "n")}, []string{"-0640 3:4 own:old", "0640 3:4 own:n"}, ""},
		"mkfile through link": {[]*pb.FileAction{mkfileOf("/flink", "n")}, []string{"-f:F", "f:n"}, ""},
		"mkfile at dangling":  {[]*pb.FileAction{mkfileOf("/gone", "n")}, []string{"nowhere:n"}, ""},
		"mkfile on dir":       {[]*pb.FileAction{mkfileOf("/d", "n")}, nil, "open /d: is a directory"},
		"mkfile on pipe":      {[]*pb.FileAction{mkfileOf("/pipe", "n")}, nil, "open /pipe: not a regular file"},
		"mkfile no parent":    {[]*pb.FileAction{mkfileOf("/n/o", "n")}, nil, "open /n/o: no such file or directory"},
		"symlink":             {[]*pb.FileAction{symlinkOf("../../x", "/d/l")}, []string{"d/l->../../x"}, ""},
		"symlink exists":      {[]*pb.FileAction{symlinkOf("x", "/f")}, nil, "symlink x /f: file exists"},
		"symlink on dir":      {[]*pb.FileAction{symlinkOf("x", "/d")}, nil, "symlink /d: file exists"},
		"symlink no parent":   {[]*pb.FileAction{symlinkOf("x", "/n/l")}, nil, "symlink /n/l: no such file or directory"},
		"rm":                  {[]*pb.FileAction{rmOf("/f", false, false)}, []string{"-f:F"}, ""},
		"rm dir":              {[]*pb.FileAction{rmOf("/d", false, false)}, []string{"-d/", "-d/x:X"}, ""},
		"rm link itself":      {[]*pb.FileAction{rmOf("/link", false, false)}, []string{"-link->d"}, ""},
		"rm dangling":         {[]*pb.FileAction{rmOf("/gone", false, false)}, []string{"-gone->nowhere"}, ""},
		"rm behind link":      {[]*pb.FileAction{rmOf("/link/x", false, false)}, []string{"-d/x:X"}, ""},
		"rm missing":          {[]*pb.FileAction{rmOf("/n", false, false)}, nil, "stat /n: no such file or directory"},
		"rm missing allowed":  {[]*pb.FileAction{rmOf("/n/o", false, true)}, nil, ""},
		"rm wildcard":         {[]*pb.FileAction{rmOf("/m/a*", true, false)}, []string{"-m/a1:1", "-m/a2/", "-m/a2/y:2"}, ""},
		"rm wildcard none":    {[]*pb.FileAction{rmOf("/m/z*", true, false)}, nil, ""},
		"rm root":             {[]*pb.FileAction{rmOf("/", false, false)}, nil, "invalid empty path"},
		"rm above":            {[]*pb.FileAction{rmOf("../..", false, true)}, nil, "invalid empty path"},
		"chain": {[]*pb.FileAction{
			mkdirOf("/n"), mkfileOf("/n/a", "1"), rmOf("/f", false, false), mkfileOf("/n/a", "22"), symlinkOf("a", "/n/l"),
		}, []string{"n/", "n/a:22", "n/l->a", "-f:F"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := w.do(Config{}, []*ref.Ref{base}, chained(1, test.actions...)...)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			expect(t, w.describe(out[0]), all, test.want)
		})
	}
}

// expect compares a tree with what it was, plus lines, minus those after "-".
func expect(t *testing.T, got, before, change []string) {
	t.Helper()
	want := slices.Clone(before)
	for _, l := range change {
		if gone, ok := strings.CutPrefix(l, "-"); ok {
			want = slices.DeleteFunc(want, func(x string) bool { return x == gone })
		} else {
			want = append(want, l)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("tree is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestForks runs actions whose results several others want.
func TestForks(t *testing.T) {
	w := newWorld(t)
	with := func(a *pb.FileAction, in, second, out int64) *pb.FileAction {
		a.Input, a.SecondaryInput, a.Output = in, second, out
		return a
	}
	for way, cfg := range ways {
		out, err := w.do(cfg, nil,
			with(mkfileOf("/a", "A"), -1, -1, 1),
			with(mkfileOf("/b", "B"), 0, -1, -1),
			with(mkfileOf("/never", "x"), 0, -1, -1),
			with(mkfileOf("/c", "C"), 1, -1, 0),
			with(copyOf("/", "/sub"), -1, 1, 2),
			with(copyOf("/nothing*", "/", emptyOK), 4, -1, 3),
		)
		if err != nil {
			t.Fatal(way, err)
		}
		for i, want := range [][]string{{"a:A", "b:B", "c:C"}, {"a:A"}, {"sub/", "sub/a:A", "sub/b:B"}, {"sub/", "sub/a:A", "sub/b:B"}} {
			expect(t, w.describe(out[i]), nil, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	out := func(a *pb.FileAction, in, second, out int64) *pb.FileAction {
		a.Input, a.SecondaryInput, a.Output = in, second, out
		return a
	}
	bad := named("x", "", -1)
	for name, actions := range map[string][]*pb.FileAction{
		"no outputs":           nil,
		"unknown kind":         {{}},
		"invalid input index":  {out(mkdirOf("/x"), 2, -1, 0)},
		"circle":               {out(copyOf("/", "/"), 0, 1, 0)},
		"duplicate output":     {out(mkdirOf("/x"), 0, -1, 0), out(mkdirOf("/x"), 0, -1, 0)},
		"missing output index": {out(mkdirOf("/x"), 0, -1, 1)},
		"invalid user index":   {out(mkdirOf("/x", func(a *pb.FileActionMkDir) { a.Owner = bad }), 0, -1, 0)},
		"invalid mode":         {out(copyOf("/", "/", modeText("u+q")), 0, -1, 0)},
	} {
		_, err := New(Config{}, &pb.FileOp{Actions: actions}, 1, "")
		if err == nil || name != "circle" && !strings.Contains(err.Error(), strings.TrimPrefix(name, "unknown ")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTimes checks dates of copies, of directories on the way and of those that
// exist.
func TestTimes(t *testing.T) {
	w := newWorld(t)
	stamp := func(dir string, at int64, names ...string) {
		for _, n := range names {
			ts := []unix.Timespec{unix.NsecToTimespec(at), unix.NsecToTimespec(at)}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, n), ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
		}
	}
	source := w.layer(nil, func(dir string) {
		for _, l := range []string{"d/sub/f:F", "d/l->x"} {
			if err := writeLine(dir, l); err != nil {
				t.Fatal(err)
			}
		}
		stamp(dir, 1000, "d/sub/f", "d/l", "d/sub", "d")
	})
	base := w.files(nil, "have/sub/")
	timed := func(c *pb.FileActionCopy) { c.Timestamp = 2000 }
	for way, cfg := range ways {
		for _, test := range []struct {
			action *pb.FileAction
			want   map[string]int64
		}{
			{copyOf("d", "/have"), map[string]int64{"have": 1000, "have/sub": 1000, "have/sub/f": 1000, "have/l": 1000}},
			{copyOf("d", "/n/o", timed), map[string]int64{"n": 2000, "n/o": 2000, "n/o/sub": 2000, "n/o/sub/f": 2000, "n/o/l": 2000}},
			{copyOf("d/sub/f", "/n/o/p", timed), map[string]int64{"n": 2000, "n/o": 2000, "n/o/p": 2000}},
		} {
			out, err := w.do(cfg, []*ref.Ref{base, source}, chained(2, test.action)...)
			if err != nil {
				t.Fatal(err)
			}
			for p, at := range test.want {
				st, err := out[0].Stat(context.Background(), p)
				if err != nil || st.ModTime != at {
					t.Errorf("%s: %s is dated %v (%v), want %d", way, p, st.GetModTime(), err, at)
				}
			}
		}
	}
}

// TestAttributes checks xattrs, devices and whiteouts that are none.
func TestAttributes(t *testing.T) {
	w := newWorld(t)
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	source := w.layer(nil, func(dir string) {
		f, d := filepath.Join(dir, "d/f"), filepath.Join(dir, "d")
		for _, err := range []error{
			os.Mkdir(d, 0o755), os.WriteFile(f, nil, 0o755),
			unix.Setxattr(f, "security.capability", []byte(capability), 0), unix.Setxattr(f, "user.a", []byte("1"), 0),
			unix.Setxattr(d, "user.d", []byte("2"), 0),
			unix.Mknod(filepath.Join(d, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
			unix.Mknod(filepath.Join(d, "loop"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 0))),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	base := w.files(nil, "x:x")
	for way, cfg := range ways {
		for _, flags := range [][]copyFlags{nil, {byID(3, 3)}} {
			out, err := w.do(cfg, []*ref.Ref{base, source}, chained(2, copyOf("/", "/e", flags...))...)
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			f, err := out[0].Stat(ctx, "e/d/f")
			if err != nil || string(f.Xattrs["security.capability"][4:8]) != capability[4:8] || string(f.Xattrs["user.a"]) != "1" {
				t.Errorf("%s: attributes of the file: %q, %v", way, f.GetXattrs(), err)
			}
			d, err := out[0].Stat(ctx, "e/d")
			if err != nil || string(d.Xattrs["user.d"]) != "2" {
				t.Errorf("%s: attributes of the directory: %q, %v", way, d.GetXattrs(), err)
			}
			null, err := out[0].Stat(ctx, "e/d/null")
			if err != nil || null.Devmajor != 1 || null.Devminor != 3 {
				t.Errorf("%s: %v, %v", way, null, err)
			}
			if loop, err := out[0].Stat(ctx, "e/d/loop"); err != nil || loop.Devmajor != 7 || os.FileMode(loop.Mode)&os.ModeCharDevice != 0 {
				t.Errorf("%s: %v, %v", way, loop, err)
			}
		}
	}
}

func TestModes(t *testing.T) {
	for _, test := range []struct {
		text string
		old  uint32
		dir  bool
		want uint32
	}{
		{"755", 0o4644, false, 0o755}, {"4711", 0, false, 0o4711}, {"u+x", 0o644, false, 0o744}, {"+x", 0o644, false, 0o755},
		{"a-w", 0o666, false, 0o444}, {"go=", 0o777, false, 0o700}, {"u=rwX,go=rX", 0o600, false, 0o644},
		{"u=rwX,go=rX", 0o600, true, 0o755}, {"u=rwX,go=rX", 0o700, false, 0o755}, {"g=u", 0o640, false, 0o660},
		{"o+g", 0o754, false, 0o755}, {"u+s", 0o755, false, 0o4755}, {"+t", 0o777, true, 0o1777}, {"g-s", 0o2755, false, 0o755},
		{"u=rw", 0o4755, false, 0o655}, {"u+r-w", 0o200, false, 0o400}, {"o+t", 0o777, false, 0o777},
	} {
		set, err := parseMode(test.text)
		if err != nil {
			t.Error(err)
		} else if got := set.apply(test.old, test.dir); got != test.want {
			t.Errorf("%s of %#o (dir %v) is %#o, want %#o", test.text, test.old, test.dir, got, test.want)
		}
	}
	for _, text := range []string{"", "8", "99999", "u", "x+r", "u+r,", "u!r", "u+rz", strings.Repeat("u+r,", 5000)} {
		if _, err := parseMode(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

// FuzzMode checks that every mode that is accepted stays within the bits.
func FuzzMode(f *testing.F) {
	for _, s := range []string{"755", "u+rwX,go=u", "+t,-s"} {
		f.Add(s, uint32(0o644), true)
	}
	f.Fuzz(func(t *testing.T, text string, old uint32, dir bool) {
		set, err := parseMode(text)
		if err == nil && set.apply(old, dir)&^permBits != 0 {
			t.Errorf("%q of %#o", text, old)
		}
	})
}

// TestNothingIsLeft runs ops that succeed, fail half-way and start over, and
// looks for layers and mounts that nobody holds.
func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	base, source := w.files(nil, "f:F"), w.files(nil, "a:A")
	// Views of refs are removed with the last hold or a little later.
	w.must(w.do(Config{}, []*ref.Ref{base, source}, chained(2, copyOf("a", "/x"))...))
	before := w.left()
	fork := mkfileOf("/y", "y")
	fork.Input, fork.Output = 2, 1
	shared := copyOf("a", "/x")
	for name, actions := range map[string][]*pb.FileAction{
		"success": chained(2, copyOf("a", "/x"), mkfileOf("/y", "y")),
		"again":   chained(2, copyOf("a", "/x"), rmOf("/f", false, false)),
		"failure": chained(2, copyOf("a", "/x"), rmOf("/nope", false, false)),
		"fork":    {shared, fork},
		"broken fork": {
			copyOf("a", "/x"), func() *pb.FileAction { a := rmOf("/nope", false, false); a.Input, a.Output = 2, 1; return a }(),
		},
	} {
		out, err := w.do(Config{}, []*ref.Ref{base, source}, actions...)
		if (name == "failure" || name == "broken fork") != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range out {
			if err := r.Release(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if n := w.left(); n != before {
			t.Errorf("%s: %d snapshots and mounts, %d before", name, n, before)
		}
	}
}
