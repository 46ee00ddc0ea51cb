package layerindex

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seal hashes content into e.
func seal(e Entry, content string) *Entry {
	e.Size = int64(len(content))
	h := NewHasher()
	h.Reset(&e)
	io.WriteString(h, content)
	h.Finish(&e)
	return &e
}

// sealed is Seal as an expression.
func sealed(e Entry) *Entry {
	e.Seal()
	return &e
}

// example holds every kind and option once.
func example(t testing.TB) *Index {
	b := NewBuilder()
	b.Put(sealed(Entry{Kind: Directory, Mode: 0o755, ModTime: 1}))
	b.Put(sealed(Entry{Path: "dir", Kind: Directory, Opaque: true, Mode: 0o1777, UID: 1000, GID: 1 << 31, ModTime: -5}))
	b.Put(seal(Entry{Path: "dir-file", Kind: Regular, Mode: 0o4755, ModTime: 1700000000123456789}, "hello"))
	b.Link("dir/z", "dir-file")
	b.Put(sealed(Entry{Path: "dir/gone", Kind: Whiteout}))
	b.Put(sealed(Entry{Path: "empty", Kind: Regular, Mode: 0o600, Xattrs: []Xattr{{"security.capability", "\x01\x00"}, {"user.x", ""}}}))
	b.Put(sealed(Entry{Path: "link", Kind: Symlink, Mode: 0o777, LinkName: "../../etc"}))
	b.Put(sealed(Entry{Path: "null", Kind: CharDevice, Mode: 0o666, DevMajor: 1, DevMinor: 3}))
	b.Put(sealed(Entry{Path: "sda", Kind: BlockDevice, Mode: 0o660, DevMajor: 8}))
	b.Put(sealed(Entry{Path: "pipe", Kind: Fifo, Mode: 0o600}))
	b.Put(sealed(Entry{Path: "sock", Kind: Socket, Mode: 0o600}))
	x, err := b.Index()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestCodecRoundTrip(t *testing.T) {
	x := example(t)
	data := x.Encode()
	y, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(y.Encode(), data) || !x.Equal(y) {
		t.Error("decoded index differs")
	}
	if empty, err := Decode((&Index{}).Encode()); err != nil || empty.Len() != 0 {
		t.Error("empty index:", err)
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	data := example(t).Encode()
	for n := range data {
		if _, err := Decode(data[:n]); !errors.Is(err, ErrFormat) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x41
		if _, err := Decode(bad); !errors.Is(err, ErrFormat) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

func TestEntriesAreInDepthFirstOrder(t *testing.T) {
	var paths []string
	for _, e := range example(t).Entries() {
		paths = append(paths, e.Path)
	}
	want := []string{"", "dir", "dir/gone", "dir/z", "dir-file", "empty", "link", "null", "pipe", "sda", "sock"}
	if !slices.Equal(paths, want) {
		t.Errorf("order %q", paths)
	}
}

func TestHardLinksPointToTheFirstName(t *testing.T) {
	x := example(t)
	if e := x.Lookup("dir/z"); e.LinkName != "" {
		t.Errorf("first name links to %q", e.LinkName)
	}
	if e := x.Lookup("dir-file"); e.LinkName != "dir/z" {
		t.Errorf("second name links to %q", e.LinkName)
	}
}

func TestLinkGroupsSurviveReplacement(t *testing.T) {
	b := NewBuilder()
	b.Put(seal(Entry{Path: "a", Kind: Regular}, "one"))
	b.Link("b", "a")
	b.Link("c", "b")
	b.Put(seal(Entry{Path: "a", Kind: Regular}, "two"))
	if n := len(b.Names("a")); n != 1 {
		t.Errorf("the new file has %d names", n)
	}
	x, err := b.Index()
	if err != nil {
		t.Fatal(err)
	}
	if x.Lookup("a").LinkName != "" || x.Lookup("b").LinkName != "" || x.Lookup("c").LinkName != "b" {
		t.Errorf("links %q %q %q", x.Lookup("a").LinkName, x.Lookup("b").LinkName, x.Lookup("c").LinkName)
	}
}

func TestLookups(t *testing.T) {
	x := example(t)
	if x.Lookup("nope") != nil || x.Lookup("dir").Kind != Directory {
		t.Error("Lookup")
	}
	for path, want := range map[string]bool{"dir/any": true, "dir/gone/deep": true, "other": false, "empty": true, "link/x": true, "": false} {
		if x.Hides(path) != want {
			t.Errorf("Hides(%q) is %v", path, !want)
		}
	}
	if n := len(x.Below("dir")); n != 2 {
		t.Errorf("%d entries below dir", n)
	}
	if n := len(x.Below("")); n != x.Len()-1 {
		t.Errorf("%d entries below the root", n)
	}
	if n := len(x.Below("nope")); n != 0 {
		t.Errorf("%d entries below nothing", n)
	}
}

func TestBuilderForgetsReplacedTrees(t *testing.T) {
	b := NewBuilder()
	for _, p := range []string{"a", "a/b", "a/b/c", "ab"} {
		b.Put(sealed(Entry{Path: p, Kind: Directory}))
	}
	b.Put(sealed(Entry{Path: "a", Kind: Whiteout}))
	if b.Len() != 2 || b.Get("a/b/c") != nil || len(b.Children("a")) != 0 {
		t.Errorf("%d entries", b.Len())
	}
	b.Put(sealed(Entry{Path: "a", Kind: Directory}))
	if !b.Get("a").Opaque {
		t.Error("a directory in place of a whiteout lets lower layers shine through")
	}
	b.Put(sealed(Entry{Path: "a/../x", Kind: Directory}))
	if _, err := b.Index(); err == nil {
		t.Error("an unclean path was accepted")
	}
}

// TestHeaderLayout checks the entry digest against the written rule, computed
// here the plain way from the header archive/tar makes of a file.
func TestHeaderLayout(t *testing.T) {
	for _, c := range []struct {
		entry Entry
		info  fileInfo
		link  string
	}{
		{Entry{Kind: Regular, Mode: 0o4755, UID: 7, GID: 8, Size: 5}, fileInfo{0o755 | os.ModeSetuid, 5}, ""},
		{Entry{Kind: Directory, Mode: 0o1777}, fileInfo{0o777 | os.ModeDir | os.ModeSticky, 4096}, ""},
		{Entry{Kind: Symlink, Mode: 0o644, LinkName: "to"}, fileInfo{0o777 | os.ModeSymlink, 2}, "to"},
		{Entry{Kind: CharDevice, Mode: 0o600, DevMajor: 1, DevMinor: 3}, fileInfo{0o600 | os.ModeDevice | os.ModeCharDevice, 0}, ""},
		{Entry{Kind: BlockDevice, Mode: 0o600, DevMajor: 8, DevMinor: 1}, fileInfo{0o600 | os.ModeDevice, 0}, ""},
		{Entry{Kind: Fifo, Mode: 0o600, Xattrs: []Xattr{{"user.b", "2"}}}, fileInfo{0o600 | os.ModeNamedPipe, 0}, ""},
	} {
		hdr, err := tar.FileInfoHeader(c.info, c.link)
		if err != nil {
			t.Fatal(err)
		}
		e := c.entry
		fields := []string{"name", "", "mode", strconv.FormatInt(hdr.Mode, 10), "uid", strconv.Itoa(int(e.UID)),
			"gid", strconv.Itoa(int(e.GID)), "size", strconv.FormatInt(hdr.Size, 10), "typeflag", string(hdr.Typeflag),
			"linkname", hdr.Linkname, "uname", "", "gname", "", "devmajor", strconv.Itoa(int(e.DevMajor)),
			"devminor", strconv.Itoa(int(e.DevMinor))}
		for _, x := range e.Xattrs {
			fields = append(fields, x.Key, x.Value)
		}
		if got := string(e.Header()); got != strings.Join(fields, "") {
			t.Errorf("%s header is %q", e.Kind, got)
		}
	}
}

// TestKnownDigest pins one digest, so that no refactoring changes cache keys.
func TestKnownDigest(t *testing.T) {
	e := seal(Entry{Path: "f", Kind: Regular, Mode: 0o644}, "data0")
	want := sha256.Sum256([]byte("namemode420uid0gid0size5typeflag0linknameunamegnamedevmajor0devminor0data0"))
	if e.Digest != Sum(want) || e.Content != Sum(sha256.Sum256([]byte("data0"))) {
		t.Errorf("digest %s", e.Digest.Digest())
	}
	if got := e.Digest.Digest().Encoded(); got != hex.EncodeToString(want[:]) {
		t.Error("text form", got)
	}
}

func TestSetXattrsSelects(t *testing.T) {
	var e Entry
	e.SetXattrs(map[string]string{"security.capability": "c", "security.selinux": "s", "system.posix_acl_access": "a", "user.b": "1", "trusted.a": "2"})
	var keys []string
	for _, x := range e.Xattrs {
		keys = append(keys, x.Key)
	}
	if !slices.Equal(keys, []string{"security.capability", "trusted.a", "user.b"}) {
		t.Error(keys)
	}
}

func TestComparePathsMatchesComponentOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var paths []string
	for range 300 {
		var parts []string
		for range 1 + rng.IntN(4) {
			parts = append(parts, string("ab-.\x01"[rng.IntN(5)])+"xy"[:rng.IntN(2)])
		}
		paths = append(paths, strings.Join(parts, "/"))
	}
	slices.SortFunc(paths, ComparePaths)
	if !sort.SliceIsSorted(paths, func(i, j int) bool {
		return slices.Compare(strings.Split(paths[i], "/"), strings.Split(paths[j], "/")) < 0
	}) {
		t.Error("order differs from component order")
	}
}

// FuzzDecode checks that what Decode accepts is canonical. The checksum is
// repaired first, or the fuzzer would never get past it.
func FuzzDecode(f *testing.F) {
	f.Add(example(f).Encode())
	f.Add((&Index{}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 4 {
			data = withChecksum(data[:len(data)-4])
		}
		x, err := Decode(data)
		if err != nil {
			return
		}
		if !bytes.Equal(x.Encode(), data) {
			t.Error("accepted bytes are not canonical")
		}
	})
}

// fileInfo is an os.FileInfo of mode and size only.
type fileInfo struct {
	mode os.FileMode
	size int64
}

func (f fileInfo) Name() string       { return "" }
func (f fileInfo) Size() int64        { return f.size }
func (f fileInfo) Mode() os.FileMode  { return f.mode }
func (f fileInfo) ModTime() time.Time { return time.Time{} }
func (f fileInfo) IsDir() bool        { return f.mode.IsDir() }
func (f fileInfo) Sys() any           { return nil }
