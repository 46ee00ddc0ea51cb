package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// formatVersion is the version of the buckets below. Raise it for changes that
// an older version would misread.
const formatVersion = 1

// The buckets. Ids are digests as text.
var (
	// bucketMeta: "version" → 8 bytes, big endian.
	bucketMeta = []byte("meta")
	// bucketRecords: key id → encoded record.
	bucketRecords = []byte("records")
	// bucketKeys: key id → encoded structure.
	bucketKeys = []byte("keys")
	// bucketResults: result id, a zero byte, key id → nothing.
	bucketResults = []byte("results")

	keyVersion = []byte("version")
)

// lockTimeout is how long OpenBolt waits for another process to let go, such
// as a predecessor that is shutting down.
const lockTimeout = 5 * time.Second

// openFile opens the database, or sets a damaged one aside and begins anew.
// The damage, if any, is reported to fault.
func openFile(path string, fault func(error)) (*bbolt.DB, error) {
	if _, err := os.Lstat(markerPath(path)); err == nil {
		if err := setAside(path); err != nil {
			return nil, err
		}
		fault(fmt.Errorf("cache %s was found damaged when it was last used: it is kept as %s, the cache starts empty", path, asidePath(path)))
	}
	db, err := tryOpen(path)
	if errors.Is(err, errCorrupt) {
		fault(fmt.Errorf("open cache %s: %w: it is kept as %s, the cache starts empty", path, err, asidePath(path)))
		if err := setAside(path); err != nil {
			return nil, err
		}
		db, err = tryOpen(path)
	}
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open cache %s: %w", path, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("open cache %s: %w", path, err)
	}
	return db, nil
}

func asidePath(path string) string { return path + ".corrupt" }

// markerPath is a file that says that the database was found damaged while it
// was in use, where it cannot be replaced.
func markerPath(path string) string { return path + ".damaged" }

// setAside keeps the last damaged file for whoever wants to look into it; only
// the last, so that a failing disk does not fill itself up.
func setAside(path string) error {
	if err := os.Rename(path, asidePath(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set damaged cache aside: %w", err)
	}
	if err := os.Remove(markerPath(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set damaged cache aside: %w", err)
	}
	return nil
}

// tryOpen opens the file as it is; errCorrupt says that it cannot be used, other
// errors that it cannot be reached.
func tryOpen(path string) (*bbolt.DB, error) {
	var db *bbolt.DB
	err := guard(func() error {
		var err error
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      lockTimeout,
			FreelistType: bbolt.FreelistMapType,
		})
		return err
	})
	for _, damage := range []error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum, bolterrors.ErrInvalidMapping} {
		if errors.Is(err, damage) {
			return nil, fmt.Errorf("%w: %w", errCorrupt, err)
		}
	}
	if err != nil {
		return nil, err
	}
	err = guard(func() error { return checkFormat(db) })
	if err != nil {
		_ = guard(db.Close)
		return nil, err
	}
	return db, nil
}

// checkFormat looks at the version, and makes the buckets in a new file. It
// does not read the records: starting must not take longer for a large cache.
func checkFormat(db *bbolt.DB) error {
	info, err := os.Stat(db.Path())
	if err != nil {
		return err
	}
	var buckets, version uint64
	err = db.View(func(tx *bbolt.Tx) error {
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d of %d bytes", errCorrupt, info.Size(), tx.Size())
		}
		if b := tx.Bucket(bucketMeta); b != nil {
			if v := b.Get(keyVersion); len(v) == 8 {
				version = binary.BigEndian.Uint64(v)
			}
		}
		return tx.ForEach(func([]byte, *bbolt.Bucket) error {
			buckets++
			return nil
		})
	})
	switch {
	case err != nil:
		return err
	case version > formatVersion:
		return fmt.Errorf("%w (format %d, this one reads up to %d): start that version, or move the file away to begin with an empty cache",
			ErrNewer, version, formatVersion)
	case buckets > 0 && version == 0:
		return fmt.Errorf("%w: it has no version", errCorrupt)
	case version == formatVersion:
		return nil
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketRecords, bucketKeys, bucketResults} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyVersion, binary.BigEndian.AppendUint64(nil, formatVersion))
	})
}

// guard turns the panics and memory faults with which bbolt meets a damaged or
// truncated file into errCorrupt.
func guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errCorrupt, p)
		}
	}()
	return fn()
}
