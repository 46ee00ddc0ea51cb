package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// write is the writer's goroutine: it takes a batch, writes it in one synced
// transaction, and tries again as long as the disk refuses.
func (b *Bolt) write() {
	defer close(b.done)
	for {
		select {
		case <-b.kick:
		case <-b.stop:
			_ = b.commit()
			return
		}
		more := b.rest(b.opts.Linger)
		for b.commit() != nil && more {
			more = b.rest(retryDelay)
		}
		if !more {
			return
		}
	}
}

// rest waits, unless somebody is in a hurry; it returns false at the end.
func (b *Bolt) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.hurry:
	case <-b.stop:
		return false
	}
	return true
}

// commit writes all that is pending.
func (b *Bolt) commit() error {
	b.mu.Lock()
	if b.writing == nil && len(b.next.changes) > 0 {
		b.writing, b.next = b.next, newBatch()
	}
	w := b.writing
	broken := b.broken
	b.mu.Unlock()
	if w == nil {
		return nil
	}
	var err error
	if !broken {
		err = guard(func() error { return b.db.Update(w.apply) })
		b.judge(err)
	}
	if b.settle(w, err) {
		return nil
	}
	b.opts.Fault(fmt.Errorf("write cache: %w", err))
	return err
}

// settle notes how an attempt to write w ended; it returns false if there has
// to be another.
func (b *Bolt) settle(w *batch, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.err = err
	close(w.attempt)
	w.attempt = make(chan struct{})
	switch {
	case b.broken:
		// Nothing can be written any more; answer from memory.
		b.merge(w)
	case err != nil:
		return false
	}
	b.writing = nil
	if len(b.next.changes) > 0 {
		poke(b.kick)
	}
	return true
}

// merge lets the bounded memory of volatile records take over what a broken
// file cannot. b.mu is held.
func (b *Bolt) merge(w *batch) {
	for _, c := range w.changes {
		if c.rec == nil {
			b.volatile.forget(c.result)
		}
		for _, id := range c.ids {
			b.volatile.put(id, c.rec)
		}
	}
}

// apply makes the changes of the batch in a transaction.
func (b *batch) apply(tx *bbolt.Tx) error {
	for _, c := range b.changes {
		if c.rec == nil {
			if err := forgetRecords(tx, c.result); err != nil {
				return err
			}
			continue
		}
		data := encodeRecord(c.rec)
		for _, id := range c.ids {
			if err := putRecord(tx, id, c.rec.ResultID, data); err != nil {
				return err
			}
		}
		keys := tx.Bucket(bucketKeys)
		for id, s := range c.structures {
			if err := keys.Put([]byte(id), encodeStructure(s)); err != nil {
				return err
			}
		}
	}
	return nil
}

// resultKey is a key of bucketResults; result ids have no zero byte.
func resultKey(resultID string, id digest.Digest) []byte {
	return append(append([]byte(resultID), 0), id...)
}

// putRecord writes one record and moves its key to the result's index.
func putRecord(tx *bbolt.Tx, id digest.Digest, resultID string, data []byte) error {
	results := tx.Bucket(bucketResults)
	old, err := getRecord(tx, id)
	if err != nil {
		return err
	}
	if old != nil && old.ResultID != resultID {
		if err := results.Delete(resultKey(old.ResultID, id)); err != nil {
			return err
		}
	}
	if err := results.Put(resultKey(resultID, id), nil); err != nil {
		return err
	}
	return tx.Bucket(bucketRecords).Put([]byte(id), data)
}

// forgetRecords removes every record of a result through its index.
func forgetRecords(tx *bbolt.Tx, resultID string) error {
	var ids []digest.Digest
	if err := eachKey(tx, resultID, func(id digest.Digest) { ids = append(ids, id) }); err != nil {
		return err
	}
	for _, id := range ids {
		if err := tx.Bucket(bucketResults).Delete(resultKey(resultID, id)); err != nil {
			return err
		}
		if err := tx.Bucket(bucketRecords).Delete([]byte(id)); err != nil {
			return err
		}
	}
	return nil
}

// Flush waits until everything saved and forgotten before is on disk.
func (b *Bolt) Flush(ctx context.Context) error {
	b.mu.Lock()
	pending := b.batches()
	b.mu.Unlock()
	for i := len(pending) - 1; i >= 0; i-- {
		w := pending[i]
		b.mu.Lock()
		waiting, attempt := len(w.changes) > 0 && (w == b.writing || w == b.next), w.attempt
		b.mu.Unlock()
		if !waiting {
			continue
		}
		poke(b.kick)
		poke(b.hurry)
		select {
		case <-attempt:
		case <-b.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		b.mu.Lock()
		err := w.err
		b.mu.Unlock()
		if err != nil {
			return fmt.Errorf("flush cache: %w", err)
		}
	}
	return nil
}
