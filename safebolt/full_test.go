package safebolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// TestFullDisk fills the disk to the last byte: removing must still work, or the disk could never be emptied.
func TestFullDisk(t *testing.T) {
	for _, reopened := range []bool{false, true} {
		t.Run(fmt.Sprintf("reopened=%t", reopened), func(t *testing.T) { testFullDisk(t, reopened) })
	}
}

func testFullDisk(t *testing.T, reopened bool) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "meta.db")
	db, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const names = 300
	name := func(i int) []byte { return fmt.Appendf(nil, "name-%d", i) }
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for i := 0; err == nil && i < names; i++ {
			err = b.Put(name(i), make([]byte, 1000))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(dir, "fill"))
	if reopened {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if db, err = Open(t.Context(), path, Options{}); err != nil {
			t.Fatalf("open on a full disk: %v", err)
		}
	}
	for i := range names / 3 {
		err := db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("b")).Delete(name(i)) })
		if err != nil {
			t.Fatalf("remove %d on a full disk: %v", i, err)
		}
	}
	if err := db.Sync(t.Context()); err != nil {
		t.Errorf("sync on a full disk: %v", err)
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
}
