package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/solver"
)

const (
	// DefaultLinger is the default of BoltOptions.Linger.
	DefaultLinger = 20 * time.Millisecond
	// volatileRecords bounds the records under volatile keys.
	volatileRecords = 4096
	// maxPending bounds the changes waiting for a disk that takes none.
	maxPending = 100_000
	// retryDelay is the pause after a transaction that failed.
	retryDelay = time.Second
	maxResult  = 1024
)

// BoltOptions adjust a Bolt; the zero value is good.
type BoltOptions struct {
	// Linger is how long the first change of a group waits for others; 0 means
	// DefaultLinger. It bounds what a crash can lose.
	Linger time.Duration
	// Fault is told of trouble that the cache survives: a damaged file that
	// was set aside, a transaction that will be tried again. It may be nil.
	Fault func(error)
	// Now tells the time; nil means time.Now.
	Now func() time.Time
}

// Bolt is a Store in a file. Use OpenBolt.
type Bolt struct {
	db      *bbolt.DB
	path    string
	results Results
	opts    BoltOptions

	// kick wakes the writer; full when it is awake already.
	kick chan struct{}
	// hurry makes it skip the linger.
	hurry chan struct{}
	stop  chan struct{}
	done  chan struct{}

	mu       sync.Mutex
	closed   bool
	broken   bool
	volatile *table
	// next collects changes, writing is in a transaction; writing may be nil.
	next, writing *batch
	// touched, while a Sweep is under way, has the keys it must not remove.
	touched map[digest.Digest]struct{}
	// removing has the keys that a transaction of a Sweep is removing: they
	// still can be read, but will not be there.
	removing      map[digest.Digest]struct{}
	lookups, hits int64
}

var _ Store = (*Bolt)(nil)

// OpenBolt opens the store in the file at path, or begins one; the directory
// must exist. See the package comment for damaged and newer files; the error
// for a file in use wraps ErrInUse. Close the store to let go of the file.
func OpenBolt(path string, results Results, opts BoltOptions) (*Bolt, error) {
	if opts.Linger == 0 {
		opts.Linger = DefaultLinger
	}
	if opts.Fault == nil {
		opts.Fault = func(error) {}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	db, err := openFile(path, opts.Fault)
	if err != nil {
		return nil, err
	}
	b := &Bolt{
		db:       db,
		path:     path,
		results:  results,
		opts:     opts,
		kick:     make(chan struct{}, 1),
		hurry:    make(chan struct{}, 1),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		volatile: newTable(volatileRecords),
		next:     newBatch(),
	}
	go b.write()
	return b, nil
}

// Close writes what is pending and closes the file. Closing again does nothing.
func (b *Bolt) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	close(b.stop)
	<-b.done
	if err := guard(b.db.Close); err != nil {
		return fmt.Errorf("close cache %s: %w", b.path, err)
	}
	return nil
}

// batches returns those that are pending, newest first. b.mu is held.
func (b *Bolt) batches() []*batch {
	if b.writing == nil {
		return []*batch{b.next}
	}
	return []*batch{b.next, b.writing}
}

// Lookup implements solver.Cache.
func (b *Bolt) Lookup(_ context.Context, key *solver.Key) (*solver.Record, error) {
	rec, err := b.find(key.ID())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lookups++
	if rec != nil {
		b.hits++
	}
	return rec, err
}

// find looks a record up in what is pending, in memory and in the file.
func (b *Bolt) find(id digest.Digest) (*solver.Record, error) {
	b.mu.Lock()
	batches := b.batches()
	rec, ok := find(batches, id)
	if !ok {
		rec = b.volatile.records[id]
		ok = rec != nil
	}
	b.mu.Unlock()
	if ok {
		return rec, nil
	}
	err := b.view(func(tx *bbolt.Tx) (err error) {
		rec, err = getRecord(tx, id)
		return err
	})
	if err != nil || rec == nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// A result may have been forgotten meanwhile, in a batch begun meanwhile.
	if hidden(batches, rec.ResultID) || hidden(b.batches(), rec.ResultID) {
		return nil, nil
	}
	return rec, nil
}

// getRecord reads a record from the file; nil for none.
func getRecord(tx *bbolt.Tx, id digest.Digest) (*solver.Record, error) {
	data := tx.Bucket(bucketRecords).Get([]byte(id))
	if data == nil {
		return nil, nil
	}
	rec, err := decodeRecord(data)
	if err != nil {
		return nil, fmt.Errorf("%w: key %s: %w", errCorrupt, id, err)
	}
	return rec, nil
}

// view reads the file; a broken one is empty.
func (b *Bolt) view(fn func(*bbolt.Tx) error) error {
	b.mu.Lock()
	broken, closed := b.broken, b.closed
	b.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if broken {
		return nil
	}
	err := guard(func() error { return b.db.View(fn) })
	if err == nil {
		return nil
	}
	b.judge(err)
	return fmt.Errorf("read cache: %w", err)
}

// judge notes a damaged file: from now on the cache lives in memory, and the
// next start begins anew.
func (b *Bolt) judge(err error) {
	if !errors.Is(err, errCorrupt) {
		return
	}
	b.mu.Lock()
	first := !b.broken
	b.broken = true
	b.mu.Unlock()
	if first {
		b.opts.Fault(fmt.Errorf("cache %s: %w: what is new is kept in memory only, the next start begins with an empty cache", b.path, err))
		if err := os.WriteFile(markerPath(b.path), nil, 0o600); err != nil {
			b.opts.Fault(fmt.Errorf("mark cache as damaged: %w", err))
		}
	}
}

// Load implements solver.Cache.
func (b *Bolt) Load(ctx context.Context, rec *solver.Record) (solver.Result, error) {
	return load(ctx, b.results, b, rec)
}

// Save implements solver.Cache. It returns when the record is visible, which is
// up to the linger time before it is on disk; see Flush.
func (b *Bolt) Save(ctx context.Context, keys []*solver.Key, res solver.Result) (*solver.Record, error) {
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	rec := newRecord(keys, res, b.opts.Now())
	if len(rec.ResultID) > maxResult || strings.ContainsRune(rec.ResultID, 0) {
		return nil, fmt.Errorf("save result: the id %.64q is too long or has a zero byte", rec.ResultID)
	}
	if err := keep(ctx, b.results, keys, res); err != nil {
		return nil, err
	}
	c := change{rec: rec, structures: map[digest.Digest]Structure{}}
	known := true
	for _, k := range keys {
		old, err := b.find(k.ID())
		if err != nil && !errors.Is(err, errCorrupt) {
			return nil, err
		}
		same := old != nil && old.ResultID == rec.ResultID && old.Key.ID() == rec.Key.ID()
		if same {
			rec.CreatedAt = old.CreatedAt
		}
		if !k.Volatile {
			known = known && same
			c.ids = append(c.ids, k.ID())
		}
	}
	b.saveVolatile(keys, rec)
	if known {
		return rec, nil
	}
	return rec, b.enqueueSave(c, keys)
}

// saveVolatile stores rec under the volatile ones of keys.
func (b *Bolt) saveVolatile(keys []*solver.Key, rec *solver.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		if k.Volatile {
			b.volatile.put(k.ID(), rec)
		}
	}
}

// enqueueSave adds c to the next batch, with the structures of keys that are
// not stored yet. The lock is taken before the transaction: what is read must
// not be older than what a Sweep has decided under the same lock.
func (b *Bolt) enqueueSave(c change, keys []*solver.Key) error {
	err := func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch {
		case b.closed:
			return ErrClosed
		case b.broken:
			return b.add(func(next *batch) { next.save(c) })
		}
		return guard(func() error {
			return b.db.View(func(tx *bbolt.Tx) error {
				for _, k := range keys {
					if !k.Volatile {
						collect(k, func(id digest.Digest, s Structure) bool {
							return b.learn(tx.Bucket(bucketKeys), &c, id, s)
						})
					}
				}
				return b.add(func(next *batch) { next.save(c) })
			})
		})
	}()
	if errors.Is(err, errCorrupt) {
		b.judge(err)
		return b.enqueue(func(next *batch) { next.save(c) })
	}
	return err
}

// learn adds a structure to c unless it is stored; it returns true if those
// under it need not be looked at. b.mu is held.
func (b *Bolt) learn(bucket *bbolt.Bucket, c *change, id digest.Digest, s Structure) bool {
	known := b.knows(bucket, c, id, s)
	if !known {
		c.structures[id] = s
	}
	if b.touched == nil {
		return known
	}
	// While a Sweep is under way a key may be there and those under it not.
	_, done := b.touched[id]
	b.touched[id] = struct{}{}
	return done
}

// knows says whether a structure is stored or about to be. One that may be a
// stub is taken for known only until a better one comes. b.mu is held.
func (b *Bolt) knows(bucket *bbolt.Bucket, c *change, id digest.Digest, s Structure) bool {
	enough := func(old Structure) bool { return !isLeafContent(old) || isLeafContent(s) }
	if old, ok := c.structures[id]; ok {
		return enough(old)
	}
	for _, p := range b.batches() {
		if old, ok := p.table.structures[id]; ok {
			return enough(old)
		}
	}
	data := bucket.Get([]byte(id))
	if _, going := b.removing[id]; going || data == nil {
		return false
	}
	old, err := decodeStructure(data)
	return err == nil && enough(old)
}

// enqueue is add with the lock taken.
func (b *Bolt) enqueue(add func(*batch)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.add(add)
}

// add adds a change to the next batch and wakes the writer. b.mu is held.
func (b *Bolt) add(add func(*batch)) error {
	if b.closed {
		return ErrClosed
	}
	if len(b.next.changes) >= maxPending {
		return fmt.Errorf("save cache record: %d changes wait for the disk already", maxPending)
	}
	add(b.next)
	poke(b.kick)
	return nil
}

// poke wakes whoever listens; if it is awake already nothing is lost.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Forget implements Store.
func (b *Bolt) Forget(_ context.Context, resultID string) error {
	return b.enqueue(func(next *batch) {
		b.volatile.forget(resultID)
		next.forget(resultID)
	})
}
