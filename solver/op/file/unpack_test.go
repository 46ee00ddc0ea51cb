package file

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

func unpacking(c *pb.FileActionCopy) { c.AttemptUnpackDockerCompatibility = true }

// tarball has a file, a directory, a link and a link out of the archive.
func tarball(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 3, Gid: 4},
		{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o640, Uid: 3, Gid: 4, Size: 1},
		{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d/f", Mode: 0o777},
		{Name: "have/new", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := tw.Write([]byte("F")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compressed returns data in the formats that are unpacked.
func compressed(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{"tar": data}
	var gz bytes.Buffer
	zw := gzip.NewWriter(&gz)
	if _, err := zw.Write(data); err != nil || zw.Close() != nil {
		t.Fatal(err)
	}
	out["gzip"] = gz.Bytes()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	out["zstd"] = enc.EncodeAll(data, nil)
	for _, tool := range []string{"xz", "bzip2"} {
		cmd := exec.Command(tool, "-c")
		cmd.Stdin = bytes.NewReader(data)
		if out[tool], err = cmd.Output(); err != nil {
			t.Fatal(tool, err)
		}
	}
	return out
}

func TestUnpack(t *testing.T) {
	w := newWorld(t)
	archives := compressed(t, tarball(t))
	source := w.layer(nil, func(dir string) {
		for name, data := range archives {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
	base := w.files(nil, "have/old:o", "link->have")
	before := w.describe(base)
	in := func(prefix string) []string {
		return []string{"0750 3:4 " + prefix + "d/", "0640 3:4 " + prefix + "d/f:F", prefix + "l->d/f", prefix + "have/new:F"}
	}
	for name := range archives {
		for way, cfg := range ways {
			out := w.must(w.do(cfg, []*ref.Ref{base, source}, chained(2, copyOf(name, "/", unpacking))...))
			t.Log(name, way)
			expect(t, w.describe(out), before, in(""))
		}
	}
	out := w.must(w.do(Config{}, []*ref.Ref{base, source}, chained(2, copyOf("gz*", "/link/x", unpacking, byID(7, 8)))...))
	expect(t, w.describe(out), before, []string{
		"0755 7:8 have/x/", "0750 7:8 have/x/d/", "0640 7:8 have/x/d/f:F", "0777 7:8 have/x/l->d/f",
		"0755 7:8 have/x/have/", "0644 7:8 have/x/have/new:F",
	})
}

// TestUnpackLeavesOthersAlone copies what is no archive.
func TestUnpackLeavesOthersAlone(t *testing.T) {
	w := newWorld(t)
	source := w.files(nil, "text:text", "empty:", "dir/f:F", "gz:\x1f\x8b\x08\x00broken", "l->text")
	out := w.must(w.do(Config{}, []*ref.Ref{nil, source}, chained(2, copyOf("*", "/x/", unpacking))...))
	expect(t, w.describe(out), nil, []string{"x/", "x/text:text", "x/empty:", "x/f:F", "x/gz:\x1f\x8b\x08\x00broken", "x/l:text"})
}

// TestUnpackDoesNotChangeTheSource unpacks over files that were copied in the
// same step and so may be linked.
func TestUnpackDoesNotChangeTheSource(t *testing.T) {
	w := newWorld(t)
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "copied", Typeflag: tar.TypeReg, Mode: 0o600, Size: 4},
		{Name: "more", Typeflag: tar.TypeLink, Linkname: "other", Mode: 0o600, Uid: 9},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			_, _ = tw.Write([]byte("evil"))
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	source := w.files(nil, "d/copied:good", "d/other:good", "a.tar:"+b.String())
	before := w.describe(source)
	w.must(w.do(Config{}, []*ref.Ref{nil, source}, chained(2, copyOf("d", "/"), copyOf("a.tar", "/", unpacking))...))
	expect(t, w.describe(source), before, nil)
}
