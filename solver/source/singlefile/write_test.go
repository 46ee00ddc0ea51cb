package singlefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/solver/source/sourcetest"
)

func TestWrite(t *testing.T) {
	h := sourcetest.NewHost(t)
	at := time.Unix(1700000000, 0)
	f := File{Attributes: Attributes{Perm: 0o4751, UID: 12, GID: 34}, Name: "../name", ModTime: at, MaxSize: 5, Algorithm: digest.SHA512}
	r, d, err := Write(t.Context(), h.Refs, f, strings.NewReader("12345"))
	if err != nil || d != digest.SHA512.FromString("12345") {
		t.Fatalf("%s, %v", d, err)
	}
	dir := h.Dir(t, r)
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "name"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode != unix.S_IFREG|0o751 || st.Uid != 12 || st.Gid != 34 || st.Mtim.Sec != at.Unix() {
		t.Errorf("%+v", st)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	held := h.Held(t)
	if _, _, err := Write(t.Context(), h.Refs, f, strings.NewReader("123456")); !errdefs.IsResourceExhausted(err) {
		t.Errorf("too long: %v", err)
	}
	wrong := errors.New("wrong")
	f.Check = func(digest.Digest) error { return wrong }
	if _, _, err := Write(t.Context(), h.Refs, f, strings.NewReader("1")); !errors.Is(err, wrong) {
		t.Errorf("refused: %v", err)
	}
	if n := h.Held(t); n != held {
		t.Errorf("%d refs after failures, want %d", n, held)
	}
}

func TestParseAttributes(t *testing.T) {
	got, err := ParseAttributes(map[string]string{AttrFilename: "a", AttrPerm: "0644", AttrUID: "1", AttrGID: "0x10", "other": "x"})
	if err != nil || got != (Attributes{Filename: "a", Perm: 0o644, UID: 1, GID: 16}) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, v := range map[string]string{AttrPerm: "rw", AttrUID: "-1", AttrGID: "4294967295"} {
		if _, err := ParseAttributes(map[string]string{name: v}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, v, err)
		}
	}
}

func FuzzSafeName(f *testing.F) {
	for _, s := range []string{"", "a", "../x", "/", "x\x00y", strings.Repeat("n", 300), "..", " . ", "a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := SafeName(s)
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > MaxName {
			t.Errorf("name %q of %q", name, s)
		}
	})
}
