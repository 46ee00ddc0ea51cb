package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
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
	touched       map[digest.Digest]struct{}
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
	if err := b.learn(&c, keys); err != nil {
		return nil, err
	}
	return rec, b.enqueue(func(next *batch) { next.save(c) })
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

// learn adds the structures of keys that are not stored yet.
func (b *Bolt) learn(c *change, keys []*solver.Key) error {
	err := b.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketKeys)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, k := range keys {
			if k.Volatile {
				continue
			}
			collect(k, func(id digest.Digest, s Structure) bool {
				if b.touched != nil {
					b.touched[id] = struct{}{}
				}
				if b.knows(bucket, c, id) {
					return true
				}
				c.structures[id] = s
				return false
			})
		}
		return nil
	})
	if errors.Is(err, errCorrupt) {
		return nil
	}
	return err
}

// knows says whether the structure of a key is stored or about to be. A leaf
// that may be a stub counts as known once it is there at all. b.mu is held.
func (b *Bolt) knows(bucket *bbolt.Bucket, c *change, id digest.Digest) bool {
	if _, ok := c.structures[id]; ok {
		return true
	}
	for _, p := range b.batches() {
		if _, ok := p.table.structures[id]; ok {
			return true
		}
	}
	return bucket.Get([]byte(id)) != nil
}

// enqueue adds a change to the next batch and wakes the writer.
func (b *Bolt) enqueue(add func(*batch)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
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
