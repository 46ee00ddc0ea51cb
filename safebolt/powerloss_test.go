package safebolt_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/safebolt"
)

// disk imitates what a disk may hold after a power loss: for every page, any version written since the last flush.
type disk struct {
	dir      string
	versions map[string][][]byte // by file name; the first is the durable one
}

const page = 4096

var files = []string{"meta.db", "meta.db.safe"}

// durable notes that everything written so far is on the disk.
func (d *disk) durable(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		d.versions[name] = nil
	}
	d.written(t)
}

// written notes the current content of the files as one more version that may have reached the disk in part.
func (d *disk) written(t *testing.T) {
	t.Helper()
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if v := d.versions[name]; len(v) == 0 || !bytes.Equal(v[len(v)-1], b) {
			d.versions[name] = append(v, b)
		}
	}
}

// crash writes one possible disk content to dir.
func (d *disk) crash(t *testing.T, rng *rand.Rand, dir string) {
	t.Helper()
	for _, name := range files {
		versions := d.versions[name]
		size := 0
		for _, v := range versions {
			size = max(size, len(v))
		}
		out := make([]byte, size)
		for off := 0; off < size; off += page {
			v := versions[rng.IntN(len(versions))]
			if off < len(v) {
				copy(out[off:min(off+page, size)], v[off:])
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// dump reads the whole database and lets bbolt check its own structure.
func dump(t *testing.T, db *safebolt.DB) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				out[string(name)+"/"+string(k)] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatalf("database is damaged: %v", err)
	}
	return out
}

// mutate commits one random transaction to db and to the model.
func mutate(t *testing.T, rng *rand.Rand, db *safebolt.DB, model map[string]string) {
	t.Helper()
	err := db.Update(func(tx *bolt.Tx) error {
		for range 1 + rng.IntN(20) {
			name, key := fmt.Sprintf("b%d", rng.IntN(4)), fmt.Sprintf("k%d", rng.IntN(60))
			b, err := tx.CreateBucketIfNotExists([]byte(name))
			if err != nil {
				return err
			}
			if rng.IntN(3) == 0 {
				delete(model, name+"/"+key)
				if err := b.Delete([]byte(key)); err != nil {
					return err
				}
				continue
			}
			value := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(400))
			model[name+"/"+key] = string(value)
			if err := b.Put([]byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPowerLoss lets hundreds of random histories lose power at random instants, each with a random part of the
// unsynced pages on the disk, and demands the exact state of the last Sync, or of the Sync that was under way.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			powerLoss(t, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

func powerLoss(t *testing.T, rng *rand.Rand) {
	dir, model := t.TempDir(), map[string]string{}
	for boot := range 4 {
		d := &disk{dir: dir, versions: map[string][][]byte{}}
		opts := safebolt.Options{Interval: -1, BootID: fmt.Sprintf("boot-%d", boot)}
		db, err := safebolt.Open(t.Context(), filepath.Join(dir, "meta.db"), opts)
		if err != nil {
			t.Fatalf("boot %d: %v", boot, err)
		}
		if got := dump(t, db); !maps.Equal(got, model) {
			t.Fatalf("boot %d: state is not the last safe point: %d keys, want %d", boot, len(got), len(model))
		}
		d.durable(t, files...)

		safe := maps.Clone(model)
		for range rng.IntN(6) {
			for range rng.IntN(30) {
				mutate(t, rng, db, model)
				d.written(t)
			}
			if err := db.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.durable(t, files...)
			safe = maps.Clone(model)
		}
		for range rng.IntN(30) {
			mutate(t, rng, db, model)
			d.written(t)
		}
		next := t.TempDir()
		d.crash(t, rng, next)
		if err := db.Close(); err != nil { // the process that lost power; its files are no longer looked at
			t.Fatal(err)
		}
		dir, model = next, safe
	}
}

// TestPowerLossDuringSync cuts the power after the database is flushed and while the record may or may not be whole.
func TestPowerLossDuringSync(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		dir, model := t.TempDir(), map[string]string{}
		d := &disk{dir: dir, versions: map[string][][]byte{}}
		db, err := safebolt.Open(t.Context(), filepath.Join(dir, "meta.db"), safebolt.Options{Interval: -1, BootID: "before"})
		if err != nil {
			t.Fatal(err)
		}
		for range 1 + rng.IntN(20) {
			mutate(t, rng, db, model)
		}
		if err := db.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.durable(t, files...)
		before := maps.Clone(model)
		for range 1 + rng.IntN(20) {
			mutate(t, rng, db, model)
		}
		if err := db.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.durable(t, "meta.db") // and the record in either version
		next := t.TempDir()
		d.crash(t, rng, next)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := safebolt.Open(t.Context(), filepath.Join(next, "meta.db"), safebolt.Options{Interval: -1, BootID: "after"})
		if err != nil {
			t.Fatal(err)
		}
		if got := dump(t, again); !maps.Equal(got, before) && !maps.Equal(got, model) {
			t.Errorf("seed %d: neither the old nor the new safe point", seed)
		}
		again.Close()
	}
}
