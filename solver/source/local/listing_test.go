package local

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/session/files"
	"github.com/kilnbuild/kiln/solver/source"
)

func sample() files.Listing {
	return files.Listing{
		{Path: "a", Mode: 0o644, Size: 3, ModTime: 12345},
		{Path: "dir", Mode: uint32(os.ModeDir | 0o755)},
		{Path: "dir/link", Mode: uint32(os.ModeSymlink | 0o777), Linkname: "../a", Xattrs: map[string][]byte{"user.x": []byte("y")}},
	}
}

func TestListingsAreKept(t *testing.T) {
	root := t.TempDir()
	l, err := openListings(root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * cached {
		if err := l.put("key"+strconv.Itoa(i), "ref"+strconv.Itoa(i), sample()); err != nil {
			t.Fatal(err)
		}
	}
	again, err := openListings(root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * cached {
		id, listing, ok := again.get("key" + strconv.Itoa(i))
		if !ok || id != "ref"+strconv.Itoa(i) || len(listing) != len(sample()) {
			t.Fatalf("listing %d: %q, %d entries, found %v", i, id, len(listing), ok)
		}
		for j, st := range sample() {
			if !proto.Equal(st, listing[j]) {
				t.Errorf("entry %d is %v, want %v", j, listing[j], st)
			}
		}
	}
	if _, _, ok := again.get("other"); ok {
		t.Error("an unknown key is found")
	}
	// A damaged file is no listing.
	path := again.path("key0")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-2], 0o600); err != nil {
		t.Fatal(err)
	}
	fresh, _ := openListings(root)
	if _, _, ok := fresh.get("key0"); ok {
		t.Error("a damaged listing is believed")
	}
}

func FuzzReadListing(f *testing.F) {
	var b bytes.Buffer
	if err := writeListing(&b, "ref", sample()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(listingMagic + "\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, listing, err := readListing(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := writeListing(&out, id, listing); err != nil {
			t.Fatal(err)
		}
		_, back, err := readListing(bufio.NewReader(&out))
		if err != nil || len(back) != len(listing) {
			t.Fatalf("%d entries became %d: %v", len(listing), len(back), err)
		}
	})
}

func TestOpenChecksAttributes(t *testing.T) {
	s := &Source{}
	tests := []struct {
		attrs map[string]string
		ok    bool
		dir   string
	}{
		{nil, true, "context"},
		{map[string]string{attrSession: "node1:abc"}, true, "node1-context"},
		{map[string]string{attrInclude: `["a","b/*"]`, attrDiffer: "none"}, true, "context"},
		{map[string]string{attrInclude: "a,b"}, false, ""},
		{map[string]string{attrDiffer: "sometimes"}, false, ""},
		{map[string]string{attrMetadata: "true", attrFull: `["a"]`}, true, "context"},
		{map[string]string{attrMetadata: "yes"}, false, ""},
		{map[string]string{attrMetadata: "true", attrFull: "a"}, false, ""},
	}
	for _, tt := range tests {
		in, err := s.Open(t.Context(), source.Identifier{Scheme: "local", Ref: "context", Attrs: tt.attrs})
		if (err == nil) != tt.ok {
			t.Errorf("%v: error %v", tt.attrs, err)
		}
		if err == nil && in.(*instance).dir != tt.dir {
			t.Errorf("%v: directory %q, want %q", tt.attrs, in.(*instance).dir, tt.dir)
		}
	}
}
