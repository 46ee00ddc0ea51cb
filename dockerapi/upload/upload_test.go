package upload_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"

	"github.com/kilnbuild/kiln/dockerapi/upload"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// archive makes a tar of headers; the bodies of files are their link names.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		body := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			h.Typeflag, body, h.Linkname = tar.TypeReg, h.Linkname, ""
			h.Size = int64(len(body))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func receive(t testing.TB, data []byte, limits upload.Limits) (*upload.Context, error) {
	t.Helper()
	dir := t.TempDir()
	c, err := upload.Receive(t.Context(), bytes.NewReader(data), dir, limits)
	if left, lerr := os.ReadDir(dir); lerr != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), lerr)
	}
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// listing walks a context and prints what is sent.
func listing(t *testing.T, c *upload.Context, p files.Patterns) string {
	t.Helper()
	tree, err := c.Tree(p)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	err = tree.Walk(t.Context(), func(st *fsutil.Stat) error {
		s := st.GetPath()
		switch mode := fs.FileMode(st.GetMode()); {
		case mode.IsDir():
			s += "/"
		case st.GetLinkname() != "":
			s += ">" + st.GetLinkname()
		case mode.IsRegular():
			f, err := tree.Open(st.GetPath())
			if err != nil {
				return err
			}
			defer f.Close()
			data, err := io.ReadAll(f)
			if err != nil {
				return err
			}
			s += "=" + string(data)
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestContext(t *testing.T) {
	data := archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "./b/deep/file", Linkname: "one"},
		tar.Header{Name: "a", Linkname: "old"},
		tar.Header{Name: "b-", Linkname: "dash"},
		tar.Header{Name: "/a", Linkname: "new"},
		tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "./b/deep/file"},
		tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "b/deep"},
		tar.Header{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "../../../etc/passwd"},
		tar.Header{Name: "b/x/../y", Linkname: "dots"},
		tar.Header{Name: "../../b/z", Linkname: "unclean"},
	)
	c, err := receive(t, data, upload.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := "a=new b/ b/deep/ b/deep/file=one b/y=dots b/z=unclean b-=dash hard>b/deep/file link>b/deep out>../../../etc/passwd"
	if got := listing(t, c, files.Patterns{}); got != want {
		t.Errorf("context is\n%s, want\n%s", got, want)
	}
	for _, tc := range []struct {
		patterns files.Patterns
		want     string
	}{
		{files.Patterns{Exclude: []string{"b", "!b/deep/file"}}, "a=new b/ b/deep/ b/deep/file=one b-=dash hard>b/deep/file link>b/deep out>../../../etc/passwd"},
		// What is linked to is left out: the link is the file.
		{files.Patterns{Exclude: []string{"b", "out", "link", "a"}}, "b-=dash hard=one"},
		{files.Patterns{Follow: []string{"link/file"}}, "b/ b/deep/ b/deep/file=one link>b/deep"},
		{files.Patterns{Follow: []string{"b/d*/f*", "nothing"}}, "b/ b/deep/ b/deep/file=one"},
	} {
		if got := listing(t, c, tc.patterns); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.patterns, got, tc.want)
		}
	}
	for name, want := range map[string]string{"a": "new", "link/file": "one", "/b/../link/../link/file": "one", "hard": "one"} {
		if got, err := c.ReadFile(name, 100); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"out", "b", "nothing", "", "link"} {
		if _, err := c.ReadFile(name, 100); !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.ReadFile("a", 2); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a file beyond the limit: %v", err)
	}
}

func TestHostileArchives(t *testing.T) {
	small := upload.Limits{Entries: 10, Headers: 2000, Size: 1000}
	var many []tar.Header
	for i := range 20 {
		many = append(many, tar.Header{Name: fmt.Sprint("f", i)})
	}
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"nothing like a tar": {[]byte(strings.Repeat("x", 5000)), "not a tar archive"},
		"short":              {[]byte("FROM scratch\n"), "not a tar archive"},
		"broken gzip":        {[]byte("\x1f\x8b\x08\x00garbage that goes on and on"), "not a"},
		"through a link":     {archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "l/passwd"}), "lies below \"l\", which is no directory"},
		"below a file":       {archive(t, tar.Header{Name: "f"}, tar.Header{Name: "f/x"}), "no directory"},
		"in place of many":   {archive(t, tar.Header{Name: "d/x"}, tar.Header{Name: "d"}), "takes the place of a directory"},
		"device":             {archive(t, tar.Header{Name: "sda", Typeflag: tar.TypeBlock}), "device nodes are not allowed"},
		"character device":   {archive(t, tar.Header{Name: "null", Typeflag: tar.TypeChar}), "device nodes are not allowed"},
		"hard link nowhere":  {archive(t, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "later"}, tar.Header{Name: "later"}), "no file that came before"},
		"itself":             {archive(t, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "h"}), "no file that came before"},
		"hard link outside":  {archive(t, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../etc/shadow"}), "no file that came before"},
		"many entries":       {archive(t, many...), "more than 10 files"},
		"deep":               {archive(t, tar.Header{Name: strings.Repeat("d/", 500) + "f"}), "more than"},
		"long name":          {archive(t, tar.Header{Name: strings.Repeat("n", 5000)}), "a name of 5000 bytes"},
		"long link":          {archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("n", 5000)}), "a symbolic link to 5000 bytes"},
		"too big":            {archive(t, tar.Header{Name: "f", Linkname: strings.Repeat("x", 2000)}), "more than 1000 bytes"},
		"broken off":         {archive(t, tar.Header{Name: "f", Linkname: strings.Repeat("x", 900)})[:1000], "breaks off"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			_, err := receive(t, tc.data, small)
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestBomb sends zeros that are small only on the way.
func TestBomb(t *testing.T) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Size: 64 << 20, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	w.Close()
	z.Close()
	if _, err := receive(t, out.Bytes(), upload.Limits{Size: 8 << 20}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a bomb: %v", err)
	}
	if _, err := receive(t, out.Bytes(), upload.Limits{Free: 1 << 60}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a full disk: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestManyFiles has a file cost what its name costs, not a buffer of its own.
func TestManyFiles(t *testing.T) {
	const n, most = 5000, 4 << 10
	headers := make([]tar.Header, n)
	for i := range headers {
		headers[i] = tar.Header{Name: fmt.Sprintf("f%d", i), Linkname: "x"}
	}
	data := archive(t, headers...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := receive(t, data, upload.Limits{})
	runtime.ReadMemStats(&after)
	if err != nil || c.Len() != n {
		t.Fatalf("%v", err)
	}
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > most {
		t.Errorf("a file costs %d bytes of memory, want at most %d", each, most)
	}
}

func TestCompressions(t *testing.T) {
	data := archive(t, tar.Header{Name: "f", Linkname: "text"})
	pack := func(program string) []byte {
		cmd := exec.Command(program, "-c")
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		return out
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, packed := range map[string][]byte{
		"none": data, "gzip": pack("gzip"), "bzip2": pack("bzip2"), "xz": pack("xz"), "zstd": z.EncodeAll(data, nil),
	} {
		c, err := receive(t, packed, upload.Limits{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := listing(t, c, files.Patterns{}); got != "f=text" {
			t.Errorf("%s: %s", name, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := upload.Receive(ctx, bytes.NewReader(data), t.TempDir(), upload.Limits{}); err == nil {
		t.Error("received for nobody")
	}
}

// FuzzReceive feeds archives of strangers: whatever they are, what is shown of
// them is a tree that receivers accept.
func FuzzReceive(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a/b", Linkname: "x"}, tar.Header{Name: "c", Typeflag: tar.TypeLink, Linkname: "a/b"}))
	f.Add(archive(f, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../l"}, tar.Header{Name: "a", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := upload.Receive(t.Context(), bytes.NewReader(data), dir, upload.Limits{Entries: 1000, Headers: 1 << 20, Size: 1 << 20, Free: 1})
		if err != nil {
			return
		}
		defer c.Close()
		tree, err := c.Tree(files.Patterns{})
		if err != nil {
			t.Fatal(err)
		}
		last := ""
		err = tree.Walk(t.Context(), func(st *fsutil.Stat) error {
			if name := st.GetPath(); !fs.ValidPath(strings.ToValidUTF8(name, "_")) || name == "." || last != "" && files.ComparePath(last, name) >= 0 {
				t.Fatalf("%q after %q", name, last)
			}
			last = st.GetPath()
			_, _ = c.ReadFile(last, 1<<20)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
