package cache

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// KeysOf implements Inspector.
func (b *Bolt) KeysOf(ctx context.Context, resultID string) ([]digest.Digest, error) {
	b.mu.Lock()
	ids := b.volatile.keysOf(resultID)
	for _, p := range b.batches() {
		ids = append(ids, p.table.keysOf(resultID)...)
	}
	b.mu.Unlock()
	err := b.view(func(tx *bbolt.Tx) error {
		return eachKey(tx, resultID, func(id digest.Digest) { ids = append(ids, id) })
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	// What was found may have been replaced or forgotten in a newer batch.
	var kept []digest.Digest
	for _, id := range ids {
		rec, err := b.find(id)
		if err != nil {
			return nil, err
		}
		if rec != nil && rec.ResultID == resultID {
			kept = append(kept, id)
		}
	}
	return kept, nil
}

// eachKey calls fn for the keys that the file has for a result.
func eachKey(tx *bbolt.Tx, resultID string, fn func(digest.Digest)) error {
	prefix := append([]byte(resultID), 0)
	c := tx.Bucket(bucketResults).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		fn(digest.Digest(k[len(prefix):]))
	}
	return nil
}

// Walk implements Inspector.
func (b *Bolt) Walk(ctx context.Context, id digest.Digest, fn func(Node) error) error {
	return walk(ctx, id, fn, b.node)
}

// List implements Inspector.
func (b *Bolt) List(ctx context.Context, after digest.Digest, n int) ([]Node, error) {
	var ids []digest.Digest
	b.mu.Lock()
	for _, p := range b.batches() {
		ids = append(ids, p.table.after(after, n)...)
	}
	b.mu.Unlock()
	err := b.view(func(tx *bbolt.Tx) error {
		c, left := tx.Bucket(bucketKeys).Cursor(), n
		for k, _ := c.Seek([]byte(after)); k != nil && left > 0; k, _ = c.Next() {
			if id := digest.Digest(k); id != after {
				ids = append(ids, id)
				left--
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var out []Node
	for _, id := range ids[:min(n, len(ids))] {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		one, err := b.node(id)
		if err != nil {
			return nil, err
		}
		if one != nil { // Swept since.
			out = append(out, *one)
		}
	}
	return out, nil
}

// node returns what is known of a key; nil for an unknown one.
func (b *Bolt) node(id digest.Digest) (*Node, error) {
	s, ok := b.pendingStructure(id)
	if !ok {
		err := b.view(func(tx *bbolt.Tx) error {
			data := tx.Bucket(bucketKeys).Get([]byte(id))
			if data == nil {
				return nil
			}
			var err error
			s, err = decodeStructure(data)
			ok = err == nil
			if err != nil {
				return fmt.Errorf("%w: key %s: %w", errCorrupt, id, err)
			}
			return nil
		})
		if err != nil || !ok {
			return nil, err
		}
	}
	rec, err := b.find(id)
	if err != nil {
		return nil, err
	}
	return &Node{ID: id, Structure: s, Record: rec}, nil
}

// pendingStructure looks only at what is not in the file yet.
func (b *Bolt) pendingStructure(id digest.Digest) (Structure, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.batches() {
		if s, ok := p.table.structures[id]; ok {
			return s, true
		}
	}
	return Structure{}, false
}

// Stats implements Inspector. Records and results that are pending are not
// counted among those stored, but as Pending; its cost grows with the file.
func (b *Bolt) Stats(context.Context) (Stats, error) {
	b.mu.Lock()
	st := Stats{Lookups: b.lookups, Hits: b.hits, Records: len(b.volatile.records), Results: len(b.volatile.byResult)}
	for _, p := range b.batches() {
		st.Pending += len(p.changes)
	}
	b.mu.Unlock()
	err := b.view(func(tx *bbolt.Tx) error {
		st.Bytes = tx.Size()
		st.Records += tx.Bucket(bucketRecords).Stats().KeyN
		st.Structures = tx.Bucket(bucketKeys).Stats().KeyN
		var last []byte
		c := tx.Bucket(bucketResults).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			id, _, _ := bytes.Cut(k, []byte{0})
			if last == nil || !bytes.Equal(id, last) {
				st.Results++
				last = append(make([]byte, 0, len(id)), id...)
			}
		}
		return nil
	})
	return st, err
}

// Counts returns Stats.Lookups and Stats.Hits, without a look at the file.
func (b *Bolt) Counts() (lookups, hits int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lookups, b.hits
}
