package file

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// TestLinksNeverLeadOut plants links to a host directory in source and
// destination and tries everything through them.
func TestLinksNeverLeadOut(t *testing.T) {
	w := newWorld(t)
	host := t.TempDir()
	for _, l := range []string{"secret:secret", "dir/secret:secret"} {
		if err := writeLine(host, l); err != nil {
			t.Fatal(err)
		}
	}
	before := describeDir(t, host)
	evil := []string{
		"abs->" + host, "file->" + host + "/secret", "rel->../../../../../../../../../.." + host, "proc->/proc/self/root",
		"fd->/proc/self/fd/0", "cwd->/proc/self/cwd", "hop->rel", "d/back->../..", "etc/passwd->" + host + "/secret", "f:F", "t/x:X",
	}
	source := w.files(nil, evil...)
	base := w.files(w.files(nil, evil[:4]...), append([]string{"own:o"}, evil[4:]...)...)
	nested := host[1:]
	actions := map[string]*pb.FileAction{}
	for _, via := range []string{"abs", "rel", "hop", "proc/" + nested, "proc", "d/back/d/back/" + nested} {
		actions["read "+via] = copyOf(via+"/secret", "/stolen")
		actions["read all "+via] = copyOf(via, "/stolen")
		actions["read match "+via] = copyOf(via+"/*", "/stolen")
		actions["read dir "+via] = copyOf(via+"/", "/stolen/", noFollow, noWildcard)
		actions["write "+via] = copyOf("f", "/"+via+"/secret")
		actions["write tree "+via] = copyOf("t", "/"+via+"/", replacing)
		actions["write dir "+via] = copyOf("t", "/"+via+"/dir", replacing, noContents)
		actions["mkdir "+via] = mkdirOf("/"+via+"/new", func(a *pb.FileActionMkDir) { a.MakeParents = true })
		actions["mkfile "+via] = mkfileOf("/"+via+"/secret", "changed")
		actions["symlink "+via] = symlinkOf("x", "/"+via+"/new")
		actions["rm "+via] = rmOf("/"+via+"/secret", false, true)
		actions["rm match "+via] = rmOf("/"+via+"/*", true, true)
		actions["rm dots "+via] = rmOf(via+"/../../../.."+host+"/secret", true, true)
	}
	actions["mkfile link"] = mkfileOf("/file", "changed")
	actions["copy onto link"] = copyOf("f", "/file")
	actions["read link"] = copyOf("file", "/stolen")
	actions["read fd"] = copyOf("fd", "/stolen")
	actions["users"] = mkdirOf("/new", func(a *pb.FileActionMkDir) { a.Owner = named("root", "", 0) })
	for name, a := range actions {
		for way, cfg := range ways {
			out, err := w.do(cfg, []*ref.Ref{base, source}, chained(2, a)...)
			if got := describeDir(t, host); !slices.Equal(got, before) {
				t.Fatalf("%s (%s) changed the host: %q", name, way, got)
			}
			if err != nil {
				if strings.Contains(err.Error(), "snapshots") || strings.Contains(err.Error(), "/mounts/") {
					t.Errorf("%s (%s): the error tells a place on the host: %v", name, way, err)
				}
				continue
			}
			for _, l := range w.describe(out[0]) {
				if strings.HasSuffix(l, ":secret") {
					t.Fatalf("%s (%s) read the host: %q", name, way, l)
				}
			}
		}
	}
	expect(t, w.describe(source), nil, w.describe(w.files(nil, evil...)))
}

// TestDevicesAreNotOpened writes to and reads from nodes that must not be
// opened.
func TestDevicesAreNotOpened(t *testing.T) {
	w := newWorld(t)
	base := w.layer(nil, func(dir string) {
		if err := unix.Mknod(filepath.Join(dir, "disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(7, 200))); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
			t.Fatal(err)
		}
	})
	for _, a := range []*pb.FileAction{mkfileOf("/disk", "x"), mkfileOf("/pipe", "x")} {
		if _, err := w.do(Config{}, []*ref.Ref{base}, chained(1, a)...); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Error(err)
		}
	}
	unpack := func(c *pb.FileActionCopy) { c.AttemptUnpackDockerCompatibility = true }
	w.must(w.do(Config{}, []*ref.Ref{nil, base}, chained(2, copyOf("*", "/x/", unpack))...))
}

// TestWhiteoutsAreNotCopied keeps a device 0:0 of a source from deleting files.
func TestWhiteoutsAreNotCopied(t *testing.T) {
	w := newWorld(t)
	source := w.layer(nil, func(dir string) {
		if err := unix.Mknod(filepath.Join(dir, "victim"), unix.S_IFCHR, 0); err != nil {
			t.Skip("this file system keeps no such device, which is as good:", err)
		}
	})
	base := w.files(nil, "victim:v")
	for way, cfg := range ways {
		out, err := w.do(cfg, []*ref.Ref{base, source}, chained(2, copyOf("/", "/"))...)
		if err == nil {
			expect(t, w.describe(out[0]), nil, []string{"victim:v"})
		} else if !strings.Contains(err.Error(), "mknod /victim: operation not permitted") {
			t.Error(way, err)
		}
	}
}

// FuzzPaths runs copies, globs and removals with any text as a path and looks
// whether anything beside the tree changes.
func FuzzPaths(f *testing.F) {
	for _, p := range []string{"/", "a/b", "../x", "l/../..", "*/[a", "a//.", "l/*", "\\", "?/..", "\x00"} {
		f.Add(p, p)
	}
	f.Fuzz(func(t *testing.T, src, dest string) {
		dir := t.TempDir()
		for _, l := range []string{"outside/a:1", "src/a/b:2", "src/l->../outside", "src/m->/", "dst/a:3", "dst/l->../outside", "dst/d/x:4"} {
			if err := writeLine(dir, l); err != nil {
				t.Fatal(err)
			}
		}
		from, err := openTree(filepath.Join(dir, "src"), "", false)
		if err != nil {
			t.Fatal(err)
		}
		defer from.close()
		to, err := openTree(filepath.Join(dir, "dst"), "", false)
		if err != nil {
			t.Fatal(err)
		}
		defer to.close()
		c, err := newCopying(copyOf(src, dest).GetCopy(), from, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.run(t.Context())
		_ = mkfile(to, mkfileOf(dest, "x").GetMkfile(), nil)
		_ = symlink(to, symlinkOf(src, dest).GetSymlink(), nil)
		_ = mkdir(to, mkdirOf(src, func(a *pb.FileActionMkDir) { a.MakeParents = true }).GetMkdir(), nil)
		_ = remove(to, rmOf(src, true, true).GetRm())
		if got := describeDir(t, filepath.Join(dir, "outside")); !slices.Equal(got, []string{"a:1"}) {
			t.Errorf("outside is %q", got)
		}
		if got := describeDir(t, filepath.Join(dir, "src")); len(got) != 4 {
			t.Errorf("the source is %q", got)
		}
		if names, _ := os.ReadDir(dir); len(names) != 3 {
			t.Errorf("beside the trees: %v", names)
		}
	})
}
