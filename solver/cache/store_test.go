package cache_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache"
	"github.com/kilnbuild/kiln/solver/cache/cachetest"
)

func TestMemory(t *testing.T) {
	cachetest.Run(t, func(_ *testing.T, results *cachetest.Results) cache.Store {
		return cache.NewMemory(results)
	})
}

// TestBolt runs the suite with everything written at once and with nothing
// written before the end, because both the file and the pending changes answer.
func TestBolt(t *testing.T) {
	for name, linger := range map[string]time.Duration{"eager": time.Microsecond, "lazy": time.Hour} {
		t.Run(name, func(t *testing.T) {
			cachetest.Run(t, func(t *testing.T, results *cachetest.Results) cache.Store {
				return open(t, filepath.Join(t.TempDir(), "cache.db"), results, linger)
			})
		})
	}
}

func open(t testing.TB, path string, results cache.Results, linger time.Duration) *cache.Bolt {
	t.Helper()
	b, err := cache.OpenBolt(path, results, cache.BoltOptions{
		Linger: linger,
		Fault:  func(err error) { t.Log("fault:", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func key(name string, inputs ...*solver.Key) *solver.Key {
	var ins []solver.KeyInput
	for _, in := range inputs {
		ins = append(ins, solver.KeyInput{Key: in})
	}
	return solver.NewKey(digest.FromString(name), 0, false, ins)
}

func save(t testing.TB, s cache.Store, r *cachetest.Results, id string, keys ...*solver.Key) {
	t.Helper()
	res := r.New(id)
	if _, err := s.Save(t.Context(), keys, res); err != nil {
		t.Fatal(err)
	}
	if err := res.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func found(t testing.TB, s cache.Store, k *solver.Key) string {
	t.Helper()
	rec, err := s.Lookup(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if rec == nil {
		return ""
	}
	return rec.ResultID
}

func TestBoltKeepsRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.db")
	results := &cachetest.Results{}
	b := open(t, path, results, time.Hour)
	volatile := solver.NewKey(digest.FromString("v"), 0, true, nil)
	save(t, b, results, "r", key("a", key("b")), key("c"), volatile)
	save(t, b, results, "gone", key("d"))
	if err := b.Forget(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Save(t.Context(), []*solver.Key{key("a")}, nil); !errors.Is(err, cache.ErrClosed) {
		t.Errorf("save after close: %v", err)
	}

	b = open(t, path, results, 0)
	for k, want := range map[*solver.Key]string{
		key("a", key("b")): "r", key("c"): "r", key("d"): "", volatile: "",
	} {
		if got := found(t, b, k); got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}

func TestFlushWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.db")
	results := &cachetest.Results{}
	b := open(t, path, results, time.Hour)
	save(t, b, results, "r", key("a"))
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What a kill now would leave behind.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(t.TempDir(), "left.db")
	if err := os.WriteFile(left, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := found(t, open(t, left, results, 0), key("a")); got != "r" {
		t.Errorf("found %q", got)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDamagedFileIsSetAside(t *testing.T) {
	results := &cachetest.Results{}
	whole := filepath.Join(t.TempDir(), "whole.db")
	b := open(t, whole, results, 0)
	for i := range 500 {
		save(t, b, results, fmt.Sprint("r", i), key(fmt.Sprint(i)))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for name, damage := range map[string]func([]byte) []byte{
		"text":            func([]byte) []byte { return []byte(strings.Repeat("not a database\n", 1000)) },
		"short":           func(b []byte) []byte { return b[:100] },
		"truncated":       func(b []byte) []byte { return b[:3*page] },
		"metas zeroed":    func(b []byte) []byte { clear(b[:2*page]); return b },
		"all but metas 0": func(b []byte) []byte { clear(b[2*page:]); return b },
		"all but metas x": func(b []byte) []byte {
			for i := range b[2*page:] {
				b[2*page+i] = 'x'
			}
			return b
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cache.db")
			bad := damage(append([]byte(nil), good...))
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			b := open(t, path, results, 0)
			if got := found(t, b, key("1")); got != "" {
				t.Errorf("found %q", got)
			}
			save(t, b, results, "new", key("1"))
			if err := b.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			if got := found(t, b, key("1")); got != "new" {
				t.Errorf("found %q", got)
			}
			kept, err := os.ReadFile(path + ".corrupt")
			if err != nil || string(kept) != string(bad) {
				t.Errorf("the damaged file was not kept as it was: %v", err)
			}
		})
	}
}

// TestDamageFoundInUse overwrites pages under a running cache: it must go on in
// memory, and begin anew at the next start.
func TestDamageFoundInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.db")
	results := &cachetest.Results{}
	b := open(t, path, results, 0)
	for i := range 500 {
		save(t, b, results, fmt.Sprint("r", i), key(fmt.Sprint(i)))
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	page := int64(os.Getpagesize())
	if _, err := f.WriteAt(make([]byte, info.Size()-2*page), 2*page); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if _, err := b.Lookup(t.Context(), key("1")); err == nil {
		t.Log("the damage was not met by the lookup")
	}
	save(t, b, results, "new", key("1"))
	_ = b.Flush(t.Context())
	if got := found(t, b, key("1")); got != "new" {
		t.Errorf("found %q", got)
	}
	_ = b.Close()
	b = open(t, path, results, 0)
	save(t, b, results, "newer", key("1"))
	if err := b.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNewerFileIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.db")
	if err := open(t, path, nil, 0).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("version"), binary.BigEndian.AppendUint64(nil, 2))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.OpenBolt(path, nil, cache.BoltOptions{}); !errors.Is(err, cache.ErrNewer) {
		t.Errorf("got %v", err)
	}
}

func TestSweep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.db")
	results := &cachetest.Results{}
	b := open(t, path, results, 0)
	shared := key("shared")
	for i := range 1200 {
		save(t, b, results, fmt.Sprint("r", i), key(fmt.Sprint(i), key(fmt.Sprint("in", i), shared)))
	}
	for i := range 1199 {
		if err := b.Forget(t.Context(), fmt.Sprint("r", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := b.Sweep(t.Context())
	if err != nil || n != 2*1199 {
		t.Errorf("swept %d, %v; want %d", n, err, 2*1199)
	}
	walked := 0
	err = b.Walk(t.Context(), key("0", key("in0", shared)).ID(), func(cache.Node) error { walked++; return nil })
	if err != nil || walked != 3 {
		t.Errorf("walked over %d keys, %v; want 3", walked, err)
	}
}

// TestSweepDisturbsNobody saves new records on old structures, which are garbage
// at that moment, while they are swept.
func TestSweepDisturbsNobody(t *testing.T) {
	results := &cachetest.Results{}
	b := open(t, filepath.Join(t.TempDir(), "cache.db"), results, 0)
	const n = 300
	old := func(i int) *solver.Key { return key(fmt.Sprint("old", i), key(fmt.Sprint("under", i))) }
	for i := range n {
		save(t, b, results, fmt.Sprint("r", i), old(i))
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := b.Forget(t.Context(), fmt.Sprint("r", i)); err != nil {
			t.Fatal(err)
		}
	}
	swept := make(chan error)
	go func() {
		_, err := b.Sweep(t.Context())
		swept <- err
	}()
	for i := range n {
		save(t, b, results, fmt.Sprint("n", i), key(fmt.Sprint("new", i), old(i)))
	}
	if err := <-swept; err != nil {
		t.Fatal(err)
	}
	for i := range n {
		walked := 0
		err := b.Walk(t.Context(), key(fmt.Sprint("new", i), old(i)).ID(), func(cache.Node) error { walked++; return nil })
		if err != nil || walked != 3 {
			t.Fatalf("record %d: walked over %d keys, %v; want 3", i, walked, err)
		}
	}
}

// BenchmarkSave is a step's share: a final and a definition key on a chain.
func BenchmarkSave(b *testing.B) {
	results := &cachetest.Results{}
	s := open(b, filepath.Join(b.TempDir(), "cache.db"), results, 0)
	final, definition := key("base"), key("base")
	i := 0
	for b.Loop() {
		i++
		final, definition = key(fmt.Sprint("f", i), final), key(fmt.Sprint("d", i), definition)
		save(b, s, results, fmt.Sprint("r", i), final, definition)
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkLookup(b *testing.B) {
	results := &cachetest.Results{}
	s := open(b, filepath.Join(b.TempDir(), "cache.db"), results, 0)
	for i := range 10_000 {
		save(b, s, results, fmt.Sprint("r", i), key(fmt.Sprint(i)))
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	k := key("5000")
	for b.Loop() {
		if found(b, s, k) == "" {
			b.Fatal("not found")
		}
	}
}
