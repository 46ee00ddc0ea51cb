package cache

import (
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"
)

// Adopt gives the store of this package that is at from, where older versions
// kept it, the path to, and leaves everything else at from alone: another
// program may keep a file of that name. It does nothing if there is a store at
// to. Foreign says that something is at from that is not a store of this
// package, or not a readable one.
func Adopt(from, to string) (foreign bool, err error) {
	if _, err := os.Lstat(from); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return false, fmt.Errorf("look for an older cache: %w", err)
	}
	if !isOurs(from) {
		return true, nil
	}
	if _, err := os.Lstat(to); err == nil {
		return false, nil
	}
	if err := os.Rename(from, to); err != nil {
		return false, fmt.Errorf("take over older cache: %w", err)
	}
	if err := os.Rename(markerPath(from), markerPath(to)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("take over older cache: %w", err)
	}
	return false, nil
}

// isOurs says whether a file has this package's version. It writes nothing, and
// a file that another process has open is not ours.
func isOurs(path string) (ours bool) {
	err := guard(func() error {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout / 5})
		if err != nil {
			return err
		}
		return errors.Join(db.View(func(tx *bbolt.Tx) error {
			meta := tx.Bucket(bucketMeta)
			ours = meta != nil && len(meta.Get(keyVersion)) == 8 && tx.Bucket(bucketKeys) != nil
			return nil
		}), db.Close())
	})
	return ours && err == nil
}
