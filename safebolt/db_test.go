package safebolt_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/safebolt"
)

func open(t testing.TB, path string, opts safebolt.Options) *safebolt.DB {
	t.Helper()
	db, err := safebolt.Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func put(t testing.TB, db *safebolt.DB, key, value string) {
	t.Helper()
	err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, db *safebolt.DB, key string) (value string) {
	t.Helper()
	if err := db.View(func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte("b")); b != nil {
			value = string(b.Get([]byte(key)))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

// TestMain plays the process that is killed in TestKill.
func TestMain(m *testing.M) {
	path := os.Getenv("SAFEBOLT_VICTIM")
	if path == "" {
		os.Exit(m.Run())
	}
	db, err := safebolt.Open(context.Background(), path, safebolt.Options{Interval: -1})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte("last"), fmt.Append(nil, i))
		})
		if err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

// TestKill checks that SIGKILL loses no transaction that had returned, although none was ever synced.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	for range 5 {
		victim := exec.Command(os.Args[0])
		victim.Env = append(os.Environ(), "SAFEBOLT_VICTIM="+path)
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		var seen int
		for seen < 200 {
			if _, err := fmt.Fscan(out, &seen); err != nil {
				t.Fatal(err)
			}
		}
		if err := victim.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for { // what it had said before it died
			if _, err := fmt.Fscan(out, &seen); err != nil {
				break
			}
		}
		victim.Wait()
		db := open(t, path, safebolt.Options{Interval: -1, LockTimeout: 5 * time.Second})
		if db.RolledBack() {
			t.Error("rolled back within one boot")
		}
		var last int
		if _, err := fmt.Sscan(get(t, db, "last"), &last); err != nil || last < seen {
			t.Errorf("found %d (%v), the process had committed %d", last, err, seen)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	db := open(t, path, safebolt.Options{BootID: "one"})
	put(t, db, "k", "v")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, boot := range []string{"one", "two", "three"} {
		db := open(t, path, safebolt.Options{BootID: boot})
		if got := get(t, db, "k"); got != "v" || db.RolledBack() {
			t.Errorf("boot %s: got %q, rolled back %v after an orderly close", boot, got, db.RolledBack())
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenRefusals(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.db")
	db := open(t, path, safebolt.Options{BootID: "one"})
	if _, err := safebolt.Open(t.Context(), path, safebolt.Options{LockTimeout: time.Millisecond}); err == nil ||
		!strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second open: %v", err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "k", "v")
	db.Close()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := safebolt.Open(t.Context(), path, safebolt.Options{BootID: "two"}); err == nil ||
		!strings.Contains(err.Error(), "older than its safe point record") {
		t.Errorf("open of a file from a backup beside a newer record: %v", err)
	}
	if err := os.Remove(path + ".safe"); err != nil {
		t.Fatal(err)
	}
	open(t, path, safebolt.Options{BootID: "two"}).Close()
}

// TestSyncIsShared checks that Sync flushes once for many callers and not at all when nothing changed.
func TestSyncIsShared(t *testing.T) {
	var flushes int
	db := open(t, filepath.Join(t.TempDir(), "meta.db"), safebolt.Options{
		Interval: -1,
		Flush:    func(context.Context) error { flushes++; return nil },
	})
	defer db.Close()
	flushes = 0
	for range 3 {
		if err := db.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if flushes != 0 {
		t.Errorf("%d flushes without a change", flushes)
	}
	put(t, db, "k", "v")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := db.Sync(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if flushes != 1 {
		t.Errorf("%d flushes for one change", flushes)
	}
}

// TestFlushFailure checks that a safe point is not moved past something that could not be flushed.
func TestFlushFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	full := errors.New("disk is full")
	fail := false
	opts := safebolt.Options{Interval: -1, BootID: "one", Flush: func(context.Context) error {
		if fail {
			return full
		}
		return nil
	}}
	db := open(t, path, opts)
	put(t, db, "k", "1")
	if err := db.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, db, "k", "2")
	fail = true
	if err := db.Sync(t.Context()); !errors.Is(err, full) {
		t.Errorf("Sync: %v", err)
	}
	if err := db.Close(); !errors.Is(err, full) {
		t.Errorf("Close: %v", err)
	}
	again := open(t, path, safebolt.Options{BootID: "two"})
	defer again.Close()
	if got := get(t, again, "k"); got != "1" || !again.RolledBack() {
		t.Errorf("got %q, rolled back %v", got, again.RolledBack())
	}
}

// TestBackground checks that a change becomes safe without anybody asking.
func TestBackground(t *testing.T) {
	flushed := make(chan struct{}, 10)
	db := open(t, filepath.Join(t.TempDir(), "meta.db"), safebolt.Options{
		Interval: time.Millisecond,
		Flush:    func(context.Context) error { flushed <- struct{}{}; return nil },
	})
	defer db.Close()
	<-flushed // the first safe point
	put(t, db, "k", "v")
	select {
	case <-flushed:
	case <-time.After(10 * time.Second):
		t.Fatal("no background sync")
	}
}

// TestGrowth checks that a burst of unsynced transactions moves the safe point by itself, so that the file stays small
// although the pin keeps pages from being reused.
func TestGrowth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "meta.db")
	db := open(t, path, safebolt.Options{Interval: -1, MaxGrowth: 4 << 20})
	defer db.Close()
	big := strings.Repeat("x", 256<<10)
	for i := range 200 {
		put(t, db, fmt.Sprint(i%4), big)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Size() > 12<<20 {
		t.Errorf("file has grown to %d MiB", st.Size()>>20)
	}
}

func TestSyncCancelled(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	var once sync.Once
	armed := false
	db := open(t, filepath.Join(t.TempDir(), "meta.db"), safebolt.Options{
		Interval: -1,
		Flush: func(context.Context) error {
			if armed {
				once.Do(func() { entered <- struct{}{}; <-release })
			}
			return nil
		},
	})
	defer db.Close()
	armed = true
	put(t, db, "k", "v")
	first := make(chan error, 1)
	go func() { first <- db.Sync(t.Context()) }()
	<-entered
	put(t, db, "k", "w") // writers go on during a flush
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled Sync: %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// BenchmarkUpdate compares one small transaction with and without a Sync after it.
func BenchmarkUpdate(b *testing.B) {
	for _, every := range []int{0, 1, 20} {
		b.Run(fmt.Sprintf("sync-every-%d", every), func(b *testing.B) {
			db := open(b, filepath.Join(b.TempDir(), "meta.db"), safebolt.Options{Interval: -1})
			defer db.Close()
			n := 0
			for b.Loop() {
				put(b, db, fmt.Sprint(n%1000), "value")
				if n++; every > 0 && n%every == 0 {
					if err := db.Sync(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
