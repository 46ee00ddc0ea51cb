package interop_test

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerSquash builds with --squash, as users of the classic builder do to
// be rid of what was only there in between.
func TestDockerSquash(t *testing.T) {
	e := newEngine(t)
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox")+"\nRUN echo hello > /hello\nRUN echo world >> /hello; echo s3cret > /remove_me\n"+
		"ENV HELLO=world\nRUN rm /remove_me\n")
	e.docker(true, "build", "-t", "sq:whole", dir).ok(t)
	out := e.docker(true, "build", "--squash", "-t", "sq:small", dir).ok(t).stdout
	if !strings.Contains(out, "Successfully tagged sq:small\n") {
		t.Errorf("the build says %s", out)
	}
	layers := func(name string) (n int) {
		t.Helper()
		text := e.docker(true, "inspect", "--format", "{{json .RootFS.Layers}}", name).ok(t).stdout
		var list []string
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if whole, small := layers("sq:whole"), layers("sq:small"); whole != small+2 {
		t.Errorf("%d layers became %d", whole, small)
	}
	lines := func(name string) int {
		return strings.Count(e.docker(true, "history", "-q", name).ok(t).stdout, "\n")
	}
	if whole, small := lines("sq:whole"), lines("sq:small"); small != whole+1 {
		t.Errorf("the history has %d lines, it had %d", small, whole)
	}
	archive := filepath.Join(t.TempDir(), "sq.tar")
	e.docker(true, "save", "-o", archive, "sq:small").ok(t)
	if found := inArchive(t, archive, "s3cret"); found != "" {
		t.Errorf("what was removed is in %s", found)
	}
	// It is an image like any other: a build can start from it.
	e.docker(true, "build", folder(t, "Dockerfile", "FROM sq:small\nRUN test \"$HELLO\" = world && test ! -e /remove_me && test \"$(cat /hello | wc -l)\" = 2\n")).ok(t)
	if list := strings.Fields(e.docker(true, "images", "-q", "-f", "dangling=true").ok(t).stdout); len(list) > 1 {
		t.Errorf("the image before it was squashed is left: %q", list)
	}
}

// inArchive returns which layer of an archive of images has a text in one of
// its files.
func inArchive(t *testing.T, archive, text string) string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		if hdr.Typeflag != tar.TypeReg || path.Dir(hdr.Name) != "blobs/sha256" {
			continue
		}
		data, err := io.ReadAll(plainLayer(tr))
		if err == nil && strings.Contains(string(data), text) && !strings.Contains(string(data), `"rootfs"`) {
			return hdr.Name
		}
	}
}

// plainLayer is a blob without its compression, if it has one.
func plainLayer(r io.Reader) io.Reader {
	buffered := bufio.NewReader(r)
	if head, err := buffered.Peek(2); err == nil && head[0] == 0x1f && head[1] == 0x8b {
		if z, err := gzip.NewReader(buffered); err == nil {
			return z
		}
	}
	return buffered
}
