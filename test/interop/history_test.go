package interop_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBuildxHistoryBundle exports records with the real buildx and takes the
// bundles apart: what a reader on another machine needs is in them. Then it
// hands one over as Docker's desktop takes them, and opens a record there.
func TestBuildxHistoryBundle(t *testing.T) {
	d := watch(t)
	b := newBuildx(t, d.Address)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo words for the bundle\n",
		"Bad", "FROM "+base(t, "busybox")+"\nRUN echo last words; exit 3\n")
	out := t.TempDir()
	built := func(file string) string {
		meta := filepath.Join(out, file+".json")
		b.run("build", "--metadata-file="+meta, "--file="+filepath.Join(dir, file), "--output=type=oci,dest="+out+"/"+file+".tar", dir)
		if file == "Bad" {
			return strings.Fields(b.run("history", "ls", "--filter=status=error", "--format={{.Ref}}").ok(t).stdout)[0]
		}
		var told struct {
			Ref string `json:"buildx.build.ref"`
		}
		decode(t, read(t, meta), &told)
		return filepath.Base(told.Ref)
	}
	good, bad := built("Dockerfile"), built("Bad")
	for ref, want := range map[string][]string{
		good: {"application/vnd.buildkit.historyrecord.v0", "application/vnd.buildkit.status.v0", "application/vnd.buildkit.otlp.json.v0",
			"application/vnd.in-toto+json", "https://slsa.dev/provenance/v1"},
		bad: {"application/vnd.buildkit.historyrecord.v0", "application/vnd.buildkit.status.v0", "application/vnd.googeapis.google.rpc.status+proto"},
	} {
		path := filepath.Join(out, ref+".dockerbuild")
		// The trace is part of the record when it has been finalized.
		b.run("history", "export", "--finalize", "--output="+path, ref).ok(t)
		files := bundle(t, path)
		all := strings.Join(slices.Collect(func(yield func(string) bool) {
			for _, text := range files {
				if !yield(text) {
					return
				}
			}
		}), "\n")
		for _, w := range append(want, ref) {
			if !strings.Contains(all, w) {
				t.Errorf("the bundle of %s has no %s", ref, w)
			}
		}
		for name, text := range files {
			if digest, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && digest != "" && digestOf(text) != "sha256:"+digest {
				t.Errorf("bundle of %s: %s is not what its name says", ref, name)
			}
		}
	}
	both := filepath.Join(out, "both.dockerbuild")
	b.run("history", "export", "--output="+both, good, bad).ok(t)
	if files := bundle(t, both); len(files) < 8 {
		t.Errorf("the bundle of two records has %d files", len(files))
	}
	desktop(t, b, both, good)
}

// bundle reads a compressed archive.
func bundle(t *testing.T, path string) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(io.LimitReader(r, 16<<20))
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(text)
	}
	if files["oci-layout"] == "" || files["index.json"] == "" {
		t.Errorf("%s is no layout: %d files", path, len(files))
	}
	return files
}

// desktop stands for Docker's: buildx imports bundles over its socket, and has
// the browser show records in it.
func desktop(t *testing.T, b buildx, path, ref string) {
	t.Helper()
	home, err := os.MkdirTemp("", "kiln-home-") // A socket's path must be short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	socket := filepath.Join(home, ".docker", "desktop", "docker-desktop-build.sock")
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(&got, r.Body)
		_, _ = io.WriteString(w, `["`+ref+`"]`)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	// What would be shown is written down instead.
	shown := filepath.Join(home, "shown")
	write(t, filepath.Join(home, "xdg-open"), "#!/bin/sh\necho \"$1\" >> "+shown+"\n")
	if err := os.Chmod(filepath.Join(home, "xdg-open"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "HOME="+home, "PATH="+home+":"+os.Getenv("PATH"))
	if said := b.run("history", "import", "--file="+path).ok(t).stderr; !strings.Contains(said, "docker-desktop://dashboard/build/.imported/_/"+ref) {
		t.Errorf("history import says %s", said)
	}
	if got.String() != read(t, path) {
		t.Errorf("%d bytes arrived", got.Len())
	}
	b.run("history", "open", ref).ok(t)
	if text := read(t, shown); !strings.Contains(text, "docker-desktop://dashboard/build/kiln/") || !strings.Contains(text, ref) {
		t.Errorf("shown was %s", text)
	}
}
