package ref

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/safebolt"
)

// database is refs.db: the only place that knows its layout.
//
//	refs     id                -> record
//	kids     parent NUL child  -> empty
//	used     id                -> last use (unix ns), count
//	sizes    id                -> bytes of the snapshot's own layer
//	mutables key               -> id
type database struct {
	bolt boltDB
}

// boltDB is a bolt database, synced with every transaction, or at safe points.
type boltDB interface {
	View(fn func(*bolt.Tx) error) error
	Update(fn func(*bolt.Tx) error) error
	Close() error
}

var (
	bucketRefs     = []byte("refs")
	bucketKids     = []byte("kids")
	bucketUsed     = []byte("used")
	bucketSizes    = []byte("sizes")
	bucketMutables = []byte("mutables")
)

// openDatabase opens refs.db in dir. A file that is not a database any more is
// set aside: its refs are lost, which costs work, and Sweep finds their leases.
//
// With durable transactions are not synced one by one: the safe point of the
// database moves after durable returned, so that it names only what is durable.
func openDatabase(ctx context.Context, dir string, durable func(context.Context) error) (*database, error) {
	path := filepath.Join(dir, "refs.db")
	db, err := openBolt(ctx, path, durable)
	if err != nil && isDamaged(err) {
		if err := os.Rename(path, path+".damaged"); err != nil {
			return nil, fmt.Errorf("set damaged refs.db aside: %w", err)
		}
		// The record of its safe point is worth nothing without it.
		if err := os.Remove(path + ".safe"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("set damaged refs.db aside: %w", err)
		}
		db, err = openBolt(ctx, path, durable)
	}
	if errors.Is(err, berrors.ErrTimeout) || errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("open %s: in use by another process: %w", path, errdefs.ErrUnavailable)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucketRefs, bucketKids, bucketUsed, bucketSizes, bucketMutables} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, withCleanup(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	return &database{bolt: db}, nil
}

// lockTimeout is how long to wait for a predecessor that is shutting down.
const lockTimeout = 2 * time.Second

// sync returns when all transactions so far are durable.
func (d *database) sync(ctx context.Context) error {
	if s, ok := d.bolt.(*safebolt.DB); ok {
		return s.Sync(ctx)
	}
	return nil
}

// openBolt turns bolt's panics on damaged files into errors. The free list is
// kept on disk, so that opening does not read the whole file.
func openBolt(ctx context.Context, path string, durable func(context.Context) error) (db boltDB, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", berrors.ErrInvalid, p)
		}
	}()
	if durable != nil {
		safe, err := safebolt.Open(ctx, path, safebolt.Options{Flush: durable, LockTimeout: lockTimeout, OnError: func(err error) {
			log.G(ctx).WithError(err).Error("refs could not be synced")
		}})
		if err != nil {
			return nil, err
		}
		return safe, nil
	}
	plain, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	return plain, nil
}

func isDamaged(err error) bool {
	for _, d := range []error{berrors.ErrInvalid, berrors.ErrVersionMismatch, berrors.ErrChecksum} {
		if errors.Is(err, d) {
			return true
		}
	}
	return false
}

// get returns the record of id, or nil when there is none.
func (d *database) get(id string) (rec *record, err error) {
	err = d.bolt.View(func(tx *bolt.Tx) error {
		data := tx.Bucket(bucketRefs).Get([]byte(id))
		if data == nil {
			return nil
		}
		rec, err = decodeRecord(id, data)
		return err
	})
	return rec, err
}

// usage returns last use and size of id as far as they are on disk.
func (d *database) usage(id string) (used usedRecord, size int64) {
	size = sizeUnknown
	_ = d.bolt.View(func(tx *bolt.Tx) error { // fails only when closed
		used = decodeUsed(tx.Bucket(bucketUsed).Get([]byte(id)))
		size = decodeSize(tx.Bucket(bucketSizes).Get([]byte(id)))
		return nil
	})
	return used, size
}

// mutable returns the id of the mutable ref of that key, or "".
func (d *database) mutable(key string) (id string, err error) {
	err = d.bolt.View(func(tx *bolt.Tx) error {
		id = string(tx.Bucket(bucketMutables).Get([]byte(key)))
		return nil
	})
	return id, err
}

// hasKids reports whether a stored record is made of id.
func (d *database) hasKids(id string) (yes bool, err error) {
	err = d.bolt.View(func(tx *bolt.Tx) error {
		yes = txHasKids(tx, id)
		return nil
	})
	return yes, err
}

func txHasKids(tx *bolt.Tx, id string) bool {
	prefix := kidKey(id, "")
	k, _ := tx.Bucket(bucketKids).Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

func kidKey(parent, child string) []byte { return []byte(parent + "\x00" + child) }

// txPut stores rec and its links.
func txPut(tx *bolt.Tx, rec *record) error {
	data, err := rec.encode()
	if err != nil {
		return fmt.Errorf("encode record of ref %s: %w", rec.ID, err)
	}
	if err := tx.Bucket(bucketRefs).Put([]byte(rec.ID), data); err != nil {
		return err
	}
	for _, p := range rec.owners() {
		if err := tx.Bucket(bucketKids).Put(kidKey(p, rec.ID), nil); err != nil {
			return err
		}
	}
	if rec.Key != "" {
		return tx.Bucket(bucketMutables).Put([]byte(rec.Key), []byte(rec.ID))
	}
	return nil
}

// txDelete deletes the record of id if it still is the one that owns lease,
// and returns the refs that it kept alive.
func txDelete(tx *bolt.Tx, id, lease string) ([]string, error) {
	data := tx.Bucket(bucketRefs).Get([]byte(id))
	if data == nil {
		return nil, nil
	}
	rec, err := decodeRecord(id, data)
	if err != nil {
		// Unreadable: nothing is known but its name.
		rec = &record{ID: id, Lease: lease}
	}
	if rec.Lease != lease {
		return nil, nil
	}
	for _, b := range [][]byte{bucketRefs, bucketUsed, bucketSizes} {
		if err := tx.Bucket(b).Delete([]byte(id)); err != nil {
			return nil, err
		}
	}
	owners := rec.owners()
	for _, p := range owners {
		if err := tx.Bucket(bucketKids).Delete(kidKey(p, id)); err != nil {
			return nil, err
		}
	}
	if m := tx.Bucket(bucketMutables); rec.Key != "" && string(m.Get([]byte(rec.Key))) == id {
		if err := m.Delete([]byte(rec.Key)); err != nil {
			return nil, err
		}
	}
	return owners, nil
}

// each calls fn for every record, in the order of ids, until it fails. A
// record that cannot be read is passed over.
func (d *database) each(fn func(rec *record, used usedRecord, size int64) error) error {
	return d.bolt.View(func(tx *bolt.Tx) error {
		used, sizes := tx.Bucket(bucketUsed), tx.Bucket(bucketSizes)
		return tx.Bucket(bucketRefs).ForEach(func(k, v []byte) error {
			rec, err := decodeRecord(string(k), v)
			if err != nil {
				return nil
			}
			return fn(rec, decodeUsed(used.Get(k)), decodeSize(sizes.Get(k)))
		})
	})
}

func encodeUsed(u usedRecord) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(u.last.UnixNano()))
	return binary.BigEndian.AppendUint64(b, uint64(u.count))
}

func decodeUsed(b []byte) usedRecord {
	if len(b) != 16 {
		return usedRecord{}
	}
	ns := int64(binary.BigEndian.Uint64(b))
	return usedRecord{last: time.Unix(0, ns).UTC(), count: int64(binary.BigEndian.Uint64(b[8:]))}
}

// sizeUnknown says that nobody measured a snapshot yet.
const sizeUnknown = -1

func encodeSize(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func decodeSize(b []byte) int64 {
	if len(b) != 8 {
		return sizeUnknown
	}
	return int64(binary.BigEndian.Uint64(b))
}
