package ref

import (
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// flushAfter is how long uses and sizes wait to be written along with
// something else.
const flushAfter = 5 * time.Second

// usedLog collects what is worth remembering but not worth a transaction: last
// uses and measured sizes. It is written with other records, at the latest
// flushAfter the first of them. Its lock is taken last of all.
type usedLog struct {
	s *Store

	mu sync.Mutex
	// uses (counts are additions) and sizes the database does not have yet.
	uses     map[string]usedRecord
	sizes    map[string]int64
	timer    *time.Timer
	stopped  bool
	flushing sync.WaitGroup
}

func (u *usedLog) init(s *Store) {
	u.s = s
	u.uses, u.sizes = map[string]usedRecord{}, map[string]int64{}
}

// touch notes a use now; counted ones also raise the count.
func (u *usedLog) touch(id string, counted bool) {
	now := u.s.cfg.Now().UTC()
	u.mu.Lock()
	defer u.mu.Unlock()
	rec := u.uses[id]
	rec.last = now
	if counted {
		rec.count++
	}
	u.uses[id] = rec
	u.schedule()
}

// resized notes a measured size, or sizeUnknown.
func (u *usedLog) resized(id string, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sizes[id] = size
	u.schedule()
}

// merge lays what is in memory over what was read.
func (u *usedLog) merge(id string, used usedRecord, size int64) (usedRecord, int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if more, ok := u.uses[id]; ok {
		used.last, used.count = more.last, used.count+more.count
	}
	if n, ok := u.sizes[id]; ok {
		size = n
	}
	return used, size
}

// forget drops what is known of a ref that was removed.
func (u *usedLog) forget(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.uses, id)
	delete(u.sizes, id)
}

// schedule sees to it that what is noted gets written. The lock is held.
func (u *usedLog) schedule() {
	if u.timer != nil || u.stopped {
		return
	}
	u.flushing.Add(1)
	u.timer = time.AfterFunc(flushAfter, func() {
		defer u.flushing.Done()
		u.mu.Lock()
		u.timer = nil
		u.mu.Unlock()
		// A failure here loses last-used times only; the next write tries again.
		_ = u.s.db.bolt.Update(u.write)
	})
}

// stop ends the timer and waits for a flush under way.
func (u *usedLog) stop() {
	u.mu.Lock()
	u.stopped = true
	if u.timer != nil && u.timer.Stop() {
		u.flushing.Done()
	}
	u.mu.Unlock()
	u.flushing.Wait()
}

// write adds what was noted to a transaction, for refs that have a record.
// The others stay noted until they get one or are removed.
func (u *usedLog) write(tx *bolt.Tx) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	refs, used, sizes := tx.Bucket(bucketRefs), tx.Bucket(bucketUsed), tx.Bucket(bucketSizes)
	uses, measured := map[string]usedRecord{}, map[string]int64{}
	for id, more := range u.uses {
		if refs.Get([]byte(id)) == nil {
			continue
		}
		sum := decodeUsed(used.Get([]byte(id)))
		sum.last, sum.count = more.last, sum.count+more.count
		if err := used.Put([]byte(id), encodeUsed(sum)); err != nil {
			return err
		}
		uses[id] = more
	}
	for id, size := range u.sizes {
		if refs.Get([]byte(id)) == nil {
			continue
		}
		if err := sizes.Put([]byte(id), encodeSize(size)); err != nil {
			return err
		}
		measured[id] = size
	}
	tx.OnCommit(func() { u.written(uses, measured) })
	return nil
}

// written takes what a transaction wrote out of the notes; what was noted in
// the meantime stays.
func (u *usedLog) written(uses map[string]usedRecord, sizes map[string]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, w := range uses {
		rec := u.uses[id]
		if rec.count -= w.count; rec.count == 0 && rec.last.Equal(w.last) {
			delete(u.uses, id)
			continue
		}
		u.uses[id] = rec
	}
	for id, w := range sizes {
		if u.sizes[id] == w {
			delete(u.sizes, id)
		}
	}
}
