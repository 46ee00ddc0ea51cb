package command

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/diagnose"
)

// unpack reads a bundle; names are without the top folder.
func unpack(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for tr := tar.NewReader(zip); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(text)
	}
}

// TestBundle: everything is in one file, and nothing that is nobody's business.
func TestBundle(t *testing.T) {
	d := fullDaemon(t)
	d.Usage[0].Description = "mount / from exec hunter2"
	d.History[0].Record.Frontend = "dockerfile.v0"
	d.History[0].Record.FrontendAttrs = map[string]string{"build-arg:PASSWORD": "hunter2"}
	d.History[0].Record.Exporters = []*control.Exporter{{Type: "image", Attrs: map[string]string{"x": "hunter2"}}}
	d.Report = []*diagnose.Chunk{
		{Name: "metrics.txt", Data: []byte("one ")}, {Name: "metrics.txt", Data: []byte("two")}, {Name: "../../etc/passwd", Data: []byte("x")},
		{Name: "long.txt", Data: make([]byte, 3<<20)}, {Name: "long.txt", Data: make([]byte, 3<<20)}, {Name: "long.txt", Data: make([]byte, 3<<20)},
	}
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	c := &cli{}
	if err := c.run(t, d, "debug", "bundle", "-o", file); err != nil {
		t.Fatal(err)
	}
	if c.out.String() != file+"\n" {
		t.Errorf("it says %q", c.out.String())
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := unpack(t, f)
	for name, want := range map[string]string{
		"client.json": `"program": "kiln"`, "info.json": `"version": "v1.2.3"`, "workers.json": `"id": "w1"`, "du.json": `"size": 1500500`,
		"builds.json": `"build-arg:PASSWORD"`, "daemon/metrics.txt": "one two", "daemon/passwd": "x",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s has no %s:\n%.500s", name, want, files[name])
		}
	}
	for name, text := range files {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s has a secret:\n%s", name, text)
		}
	}
	if n := len(files["daemon/long.txt"]); n != bundlePart {
		t.Errorf("a long file has %d bytes", n)
	}
	if text, ok := files["errors.txt"]; ok {
		t.Errorf("errors: %s", text)
	}
}

// TestBundleOfAnotherDaemon: what a daemon does not tell is noted.
func TestBundleOfAnotherDaemon(t *testing.T) {
	c := &cli{}
	if err := c.run(t, fullDaemon(t), "debug", "bundle", "-o", "-"); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, &c.out)
	if !strings.Contains(files["errors.txt"], "not kilnd") || files["workers.json"] == "" {
		t.Errorf("%q", files["errors.txt"])
	}
	missing := filepath.Join(t.TempDir(), "missing", "b.tar.gz")
	if err := c.run(t, fullDaemon(t), "debug", "bundle", "-o", missing); err == nil {
		t.Error("a bundle was written into a folder that is not there")
	}
}
