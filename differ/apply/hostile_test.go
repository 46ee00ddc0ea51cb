package apply

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostileArchives has one row per attack. An archive is either refused or
// harmless; in no case may anything outside the root change.
func TestHostileArchives(t *testing.T) {
	long := strings.Repeat("x/", 3000) + "f"
	withXattr := func(key, value string) tar.Header {
		h := file("f")
		h.PAXRecords = map[string]string{paxXattr + key: value}
		return h
	}
	owned := file("f")
	owned.Uid = -1
	many := make([]tar.Header, 0, 20)
	for range 20 {
		many = append(many, file("f"))
	}
	for _, c := range []struct {
		name    string
		headers []tar.Header
		refused bool
	}{
		{"dotdot name", []tar.Header{file("../outside/secret")}, true},
		{"dotdot in the middle", []tar.Header{file("a/../../outside/secret")}, true},
		{"absolute name stays inside", []tar.Header{file("/outside/secret")}, false},
		{"dotdot directory", []tar.Header{dir("..")}, true},
		{"name of 6000 bytes", []tar.Header{file(long)}, true},
		{"absolute link as parent", []tar.Header{sym("d", "/outside"), file("d/secret")}, false},
		{"relative link as parent", []tar.Header{sym("d", "../outside"), file("d/secret")}, false},
		{"link chain as parent", []tar.Header{sym("a", ".."), sym("b", "a/.."), sym("d", "b/outside"), file("d/secret")}, false},
		{"proc link as parent", []tar.Header{sym("d", "/proc/self/root/tmp"), file("d/secret")}, false},
		{"link circle", []tar.Header{sym("a", "b"), sym("b", "a"), file("a/f")}, true},
		{"link to itself as parent", []tar.Header{sym("a", "a"), file("a/f")}, true},
		{"write through a link", []tar.Header{sym("f", "../outside/secret"), file("f")}, false},
		{"directory over a link", []tar.Header{sym("d", "../outside"), dir("d"), file("d/secret")}, false},
		{"hard link to dotdot", []tar.Header{link("f", "../outside/secret")}, true},
		{"hard link to absolute", []tar.Header{link("f", "/outside/secret")}, true},
		{"hard link through a link", []tar.Header{sym("d", "../outside"), link("f", "d/secret")}, true},
		{"hard link to the root", []tar.Header{link("f", "/")}, true},
		{"hard link to a directory", []tar.Header{dir("d"), link("f", "d")}, true},
		{"hard link to itself", []tar.Header{file("f"), link("f", "f")}, true},
		{"hard link to nothing", []tar.Header{link("f", "g")}, true},
		{"hard link to a whiteout", []tar.Header{file(".wh.low"), link("f", "low")}, true},
		{"hard link to a link, then mode", []tar.Header{sym("s", "../outside/secret"), link("f", "s")}, false},
		{"whiteout of dotdot", []tar.Header{dir("d"), file("d/.wh...")}, true},
		{"whiteout of dot", []tar.Header{dir("d"), file("d/.wh..")}, true},
		{"whiteout of nothing", []tar.Header{file(".wh.")}, true},
		{"whiteout through a link", []tar.Header{sym("d", "../outside"), file("d/.wh.secret")}, false},
		{"opaque through a link", []tar.Header{sym("d", "../outside"), file("d/.wh..wh..opq")}, false},
		{"aufs book-keeping", []tar.Header{file(".wh..wh.plnk/1"), file(".wh..wh.aufs")}, false},
		{"device number out of range", []tar.Header{dev("n", 1<<32+1, 3)}, true},
		{"device 0:0", []tar.Header{dev("low", 0, 0)}, false},
		{"owner -1", []tar.Header{owned}, true},
		{"too many entries", many, true},
		{"forged redirect", []tar.Header{withXattr("trusted.overlay.redirect", "/other")}, false},
		{"huge attribute", []tar.Header{withXattr("user.big", strings.Repeat("v", 70_000))}, true},
		{"unknown type", []tar.Header{{Name: "f", Typeflag: 'Z', ModTime: when}}, true},
		{"global header", []tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"path": "../x"}}}, false},
	} {
		for _, layered := range []bool{false, true} {
			name := c.name
			if layered {
				name += " (overlay)"
			}
			t.Run(name, func(t *testing.T) {
				b := newBed(t, layered, func(dir string) { put(t, dir, "low", "low") })
				data := hostile(t, c.headers)
				_, err := Layer(t.Context(), bytes.NewReader(data), b.target(layered), LayerOptions{Limits: Limits{MaxEntries: 10}})
				if (err != nil) != c.refused || c.refused && !errors.Is(err, ErrRefused) {
					t.Errorf("error %v", err)
				}
				b.untouched()
				noMarks(t, b.root)
			})
		}
		t.Run(c.name+" (extract)", func(t *testing.T) {
			b := newBed(t, false, nil)
			_ = Extract(t.Context(), bytes.NewReader(hostile(t, c.headers)), b.root, Options{})
			b.untouched()
		})
	}
}

// hostile writes headers that archive/tar may refuse to write, by patching what
// an ordinary one has.
func hostile(t testing.TB, headers []tar.Header) []byte {
	t.Helper()
	var out []byte
	for _, hdr := range headers {
		if hdr.Uid != -1 && hdr.Typeflag != 'Z' {
			data := archive(t, hdr)
			out = append(out, data[:len(data)-1024]...) // without the end marker
			continue
		}
		patched, uid, kind := hdr, hdr.Uid, hdr.Typeflag
		patched.Uid, patched.Typeflag = 0, tar.TypeReg
		data := archive(t, patched)
		block := data[:512]
		block[156] = kind
		if uid == -1 {
			copy(block[108:116], "\xff\xff\xff\xff\xff\xff\xff\xff") // base 256
		}
		checksum(block)
		out = append(out, data[:len(data)-1024]...)
	}
	return append(out, make([]byte, 1024)...)
}

// checksum repairs a header block.
func checksum(block []byte) {
	copy(block[148:156], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	for i := 5; i >= 0; i-- {
		block[148+i] = byte('0' + sum&7)
		sum >>= 3
	}
	block[154] = 0
}

// noMarks fails if the archive could set one of overlayfs's attributes that this
// package never sets.
func noMarks(t testing.TB, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n, err := unix.Lgetxattr(p, "trusted.overlay.redirect", nil); err == nil {
			t.Errorf("%s has a redirect of %d bytes", p, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSparseBombsAreRefused(t *testing.T) {
	// A PAX sparse file of 2^50 bytes with one byte of data, as GNU tar writes it.
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	body := "1\n0\n1\n" + strings.Repeat("\x00", 512-6) + "x"
	hdr := &tar.Header{Name: "bomb", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}
	if err := tw.WriteHeader(hdr); err != nil {
		t.Fatal(err)
	}
	tw.Write([]byte(body))
	tw.Close()
	pax := record("GNU.sparse.major=1") + record("GNU.sparse.minor=0") + record("GNU.sparse.realsize=1125899906842624")
	var full bytes.Buffer
	block := make([]byte, 512)
	copy(block, "pax")
	copy(block[100:], "0000644\x00")
	copy(block[124:], fmt.Sprintf("%011o\x00", len(pax)))
	block[156] = 'x'
	copy(block[257:], "ustar\x0000")
	checksum(block)
	full.Write(block)
	full.WriteString(pax)
	full.Write(make([]byte, 512-len(pax)))
	full.Write(b.Bytes())
	err := Extract(t.Context(), &full, t.TempDir(), Options{})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("pax record of %d bytes: %v", len(pax), err)
	}
}

// record makes a PAX record, whose length counts itself.
func record(text string) string {
	n := len(text) + 2
	for len(fmt.Sprint(n))+len(text)+2 != n {
		n++
	}
	return fmt.Sprintf("%d %s\n", n, text)
}

// TestSparseFilesKeepHoles unpacks what the system's tar makes of a sparse file.
func TestSparseFilesKeepHoles(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(src, "s"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("head"), 0)
	f.WriteAt([]byte("tail"), 8<<20)
	f.Close()
	for _, format := range []string{"gnu", "posix"} {
		data, err := exec.Command("tar", "-C", src, "-S", "-H", format, "-cf", "-", "s").Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := Extract(t.Context(), bytes.NewReader(data), dst, Options{}); err != nil {
			t.Fatal(format, err)
		}
		got, err := os.ReadFile(filepath.Join(dst, "s"))
		if err != nil || len(got) != 8<<20+4 || string(got[:4]) != "head" || string(got[8<<20:]) != "tail" {
			t.Errorf("%s: %d bytes, %v", format, len(got), err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dst, "s"), &st); err != nil || st.Blocks*512 > 1<<20 {
			t.Errorf("%s: %d blocks, %v", format, st.Blocks, err)
		}
	}
}

func TestByteLimit(t *testing.T) {
	data := archive(t, file("a"), file("b"), file("c"))
	if err := Extract(t.Context(), bytes.NewReader(data), t.TempDir(), Options{Limits: Limits{MaxBytes: 12}}); err != nil {
		t.Error(err)
	}
	if err := Extract(t.Context(), bytes.NewReader(data), t.TempDir(), Options{Limits: Limits{MaxBytes: 11}}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// FuzzLayer applies arbitrary archives to both kinds of targets: no panic, and
// nothing outside changes.
func FuzzLayer(f *testing.F) {
	f.Add(archive(f, dir("d"), file("d/f"), sym("s", "d"), link("h", "d/f"), file("s/.wh.f"), file("d/.wh..wh..opq"), dev("n", 1, 3)))
	f.Add(archive(f, sym("d", "../outside"), file("d/secret"), link("x", "d/secret")))
	f.Add(archive(f, file("low/x"), file(".wh.low"), dir("low"), link("low/y", "low/x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, layered := range []bool{false, true} {
			b := newBed(t, layered, func(dir string) {
				put(t, dir, "low/deep/f", "1")
				if err := os.Symlink("low", filepath.Join(dir, "lowlink")); err != nil {
					t.Fatal(err)
				}
			})
			x, err := Layer(t.Context(), bytes.NewReader(data), b.target(layered), LayerOptions{Limits: Limits{MaxEntries: 100, MaxBytes: 1 << 20, MaxSparseBytes: 1 << 20}})
			if err == nil && x == nil {
				t.Error("no index")
			}
			b.untouched()
		}
	})
}
