package cache_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/cache/cachetest"
)

// TestAdopt: a store is found under its older name; what is not a store stays
// as it is, byte by byte.
func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "cache.db"), filepath.Join(dir, "kiln-cache.db")
	adopt := func(foreign bool) {
		t.Helper()
		if got, err := cache.Adopt(from, to); err != nil || got != foreign {
			t.Fatalf("foreign %v, %v", got, err)
		}
	}
	adopt(false) // Nothing is there.

	results := &cachetest.Results{}
	b := open(t, from, results, 0)
	save(t, b, results, "r", key("a"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	adopt(false)
	adopt(false)
	if got := found(t, open(t, to, results, 0), key("a")); got != "r" {
		t.Errorf("found %q", got)
	}

	foreign := func(name string, make func()) {
		t.Run(name, func(t *testing.T) {
			_ = os.Remove(from)
			make()
			before, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			adopt(true)
			if after, _ := os.ReadFile(from); !bytes.Equal(before, after) {
				t.Error("it was written to")
			}
		})
	}
	foreign("another-program", func() {
		db, err := bbolt.Open(from, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("_links")); return err })
		if err != nil || db.Close() != nil {
			t.Fatal(err)
		}
	})
	foreign("text", func() {
		if err := os.WriteFile(from, []byte("not a database"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
}

// TestListPages: all keys come once, in order, whatever is on disk and what not.
func TestListPages(t *testing.T) {
	results := &cachetest.Results{}
	b := open(t, filepath.Join(t.TempDir(), "cache.db"), results, 0)
	save(t, b, results, "r", key("a", key("b"), key("c")))
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	save(t, b, results, "r2", key("d", key("a", key("b"), key("c"))))
	var ids []string
	last := key("").ID()[:0]
	for {
		page, err := b.List(t.Context(), last, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, n := range page {
			if len(ids) > 0 && ids[len(ids)-1] >= n.ID.String() {
				t.Errorf("%s after %s", n.ID, ids[len(ids)-1])
			}
			ids = append(ids, n.ID.String())
			last = n.ID
		}
	}
	if len(ids) != 4 {
		t.Errorf("%q", ids)
	}
}
