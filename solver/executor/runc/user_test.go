package runc

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestLookupUser(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/:/bin/sh\nbuild:x:7:8::/:/bin/sh\n",
		"group":  "root:x:0:\nwheel:x:10:root,build\nbuild:x:8:build\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name     string
		uid, gid uint32
		groups   []uint32
	}{
		{"", 0, 0, []uint32{0, 10}},
		{"root", 0, 0, []uint32{0, 10}},
		{"build", 7, 8, []uint32{10, 8}},
		{"build:wheel", 7, 10, []uint32{10}},
		{"1234", 1234, 0, []uint32{0}},
		{"1234:99", 1234, 99, []uint32{99}},
	} {
		u, err := lookupUser(root, test.name)
		if err != nil || u.UID != test.uid || u.GID != test.gid || !slices.Equal(u.AdditionalGids, test.groups) {
			t.Errorf("%q: %+v, %v", test.name, u, err)
		}
	}
	for _, bad := range []string{"nobody", "a:b:c", "build:none"} {
		if u, err := lookupUser(root, bad); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
}
