package cache

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// sweepStep is how many structures are removed in one transaction.
const sweepStep = 500

// Sweep removes structures that no record leads to any more and returns their
// number. It works in small transactions and disturbs nobody; run it after
// results were removed. Only one Sweep should run at a time.
func (b *Bolt) Sweep(ctx context.Context) (int, error) {
	b.mu.Lock()
	b.touched = map[digest.Digest]struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.touched = nil
	}()
	// What was saved before touched was there must be visible to the marking.
	if err := b.Flush(ctx); err != nil {
		return 0, err
	}
	var garbage []digest.Digest
	err := b.view(func(tx *bbolt.Tx) error {
		live, err := reachable(ctx, tx)
		if err != nil {
			return err
		}
		return tx.Bucket(bucketKeys).ForEach(func(k, _ []byte) error {
			if _, ok := live[digest.Digest(k)]; !ok {
				garbage = append(garbage, digest.Digest(k))
			}
			return nil
		})
	})
	if err != nil {
		return 0, err
	}
	removed := 0
	for len(garbage) > 0 {
		if err := context.Cause(ctx); err != nil {
			return removed, err
		}
		n := min(sweepStep, len(garbage))
		done, err := b.removeKeys(ctx, garbage[:n])
		removed += done
		if err != nil {
			return removed, fmt.Errorf("sweep cache: %w", err)
		}
		garbage = garbage[n:]
	}
	return removed, nil
}

// reachable returns all keys that a record leads to.
func reachable(ctx context.Context, tx *bbolt.Tx) (map[digest.Digest]struct{}, error) {
	roots := map[digest.Digest]struct{}{}
	err := tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
		roots[digest.Digest(k)] = struct{}{}
		rec, err := decodeRecord(v)
		if err != nil {
			return fmt.Errorf("%w: key %s: %w", errCorrupt, k, err)
		}
		roots[rec.Key.ID()] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return closure(ctx, tx.Bucket(bucketKeys), roots)
}

// closure adds to ids all keys that they lead to, and returns it.
func closure(ctx context.Context, keys *bbolt.Bucket, ids map[digest.Digest]struct{}) (map[digest.Digest]struct{}, error) {
	todo := slices.Collect(maps.Keys(ids))
	for len(todo) > 0 {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		var id digest.Digest
		id, todo = todo[len(todo)-1], todo[:len(todo)-1]
		data := keys.Get([]byte(id))
		if data == nil {
			continue
		}
		s, err := decodeStructure(data)
		if err != nil {
			return nil, fmt.Errorf("%w: key %s: %w", errCorrupt, id, err)
		}
		for _, in := range s.Inputs {
			if _, ok := ids[in.Key]; !ok {
				ids[in.Key] = struct{}{}
				todo = append(todo, in.Key)
			}
		}
	}
	return ids, nil
}

// removeKeys removes structures, but for those that were used meanwhile.
func (b *Bolt) removeKeys(ctx context.Context, ids []digest.Digest) (removed int, err error) {
	err = guard(func() error {
		return b.db.Update(func(tx *bbolt.Tx) error {
			removed = 0
			removing := map[digest.Digest]struct{}{}
			keys := tx.Bucket(bucketKeys)
			b.mu.Lock()
			defer b.mu.Unlock()
			used, err := closure(ctx, keys, maps.Clone(b.touched))
			if err != nil {
				return err
			}
			for _, id := range ids {
				if _, ok := used[id]; ok {
					continue
				}
				if err := keys.Delete([]byte(id)); err != nil {
					return err
				}
				removing[id] = struct{}{}
				removed++
			}
			b.removing = removing
			return nil
		})
	})
	b.mu.Lock()
	b.removing = nil
	b.mu.Unlock()
	b.judge(err)
	return removed, err
}
