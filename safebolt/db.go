package safebolt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrFailed is matched by the errors of a database that could not be synced and therefore takes no more writes.
var ErrFailed = errors.New("metadata database could not be synced and refuses further writes until the daemon restarts")

// DefaultInterval is how long a committed transaction may wait for its safe point when nobody asks for one.
const DefaultInterval = 5 * time.Second

// Options tunes a database. The zero value is usable.
type Options struct {
	// Interval is the longest time between a commit and the background Sync that covers it; 0 means DefaultInterval,
	// a negative value means that only explicit Sync calls move the safe point.
	Interval time.Duration
	// Flush makes durable what the database names; it runs before each safe point. nil flushes nothing.
	Flush func(context.Context) error
	// BootID identifies the running boot; "" means BootID().
	BootID string
	// MaxGrowth is by how many bytes the file may grow between two safe points; 0 means 256 MiB. While the safe point
	// stays where it is, bbolt reuses hardly any page. It is moved early at a 64th of this, and writers wait for it
	// at the whole.
	MaxGrowth int64
	// LockTimeout bounds the wait for another process's lock on the file; 0 means 100 ms.
	LockTimeout time.Duration
	// OnError is told of a background Sync that failed. nil ignores it; the next Update or Sync reports it anyway.
	OnError func(error)
}

// DB is an open database. It has the View and Update methods that containerd's metadata layer asks of a transactor.
type DB struct {
	bolt   *bolt.DB
	file   *os.File // bbolt's own handle, for reading the meta pages
	rec    *recordFile
	opts   Options
	rolled bool

	write      sync.Mutex    // held by writers, and by a Sync while it opens its pin
	generation atomic.Uint64 // advanced under write
	failed     atomic.Pointer[error]

	// Growth since the pin, guarded by write; relief wakes writers after each attempt of the background loop.
	size, pinned int64
	reserved     int64 // up to where blocks are allocated; see reserve
	scarce       bool  // the reserve could not be filled up
	attempts     uint64
	attemptErr   error
	relief       *sync.Cond

	turn chan struct{} // capacity 1; its holder moves the safe point and owns the fields below
	safe atomic.Uint64 // the generation that the safe point covers
	pin  *bolt.Tx

	dirty  chan struct{} // capacity 1; tells the background loop that a Sync is due within Interval
	urgent chan struct{} // capacity 1; and that it is due now
	cancel context.CancelFunc
	done   chan struct{}
	last   error // what the Sync at Close said; set before done is closed
}

// Open opens or creates the database at path, going back to the last safe point if the machine was restarted since
// it was written. Its duration does not depend on the size of the database. ctx bounds the opening only; the
// background Sync keeps its values and ends with Close.
func Open(ctx context.Context, path string, opts Options) (*DB, error) {
	if opts.BootID == "" {
		opts.BootID = BootID()
	}
	if opts.Interval == 0 {
		opts.Interval = DefaultInterval
	}
	if opts.LockTimeout == 0 {
		opts.LockTimeout = 100 * time.Millisecond
	}
	if opts.MaxGrowth == 0 {
		opts.MaxGrowth = 256 << 20
	}
	d := &DB{
		opts: opts,
		turn: make(chan struct{}, 1), dirty: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		done: make(chan struct{}),
	}
	d.relief = sync.NewCond(&d.write)
	if err := d.open(ctx, path); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, errors.Join(err, d.release()))
	}
	loop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	go d.background(loop)
	return d, nil
}

// open restores, opens and pins. The database takes no write before a record of this boot names a pinned state.
func (d *DB) open(ctx context.Context, path string) error {
	var err error
	if d.rec, err = openRecordFile(path + ".safe"); err != nil {
		return err
	}
	if d.bolt, err = openBolt(path, d.openFile); err != nil {
		return err
	}
	// The names of both files must not vanish from under each other.
	if d.rec.last.sequence == 0 {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return d.firstPoint(ctx)
}

// openFile is how bbolt opens its file: locked, because restoring under a live process would destroy its state, and
// restored, because bbolt reads the meta pages next.
func (d *DB) openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	if err = lock(f, d.opts.LockTimeout); err == nil {
		err = d.restore(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	d.file = f
	return f, nil
}

// restore puts the record's meta back unless the file's own newest state can be trusted.
func (d *DB) restore(f *os.File) error {
	last := &d.rec.last
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() == 0 || last.sequence == 0 {
		return nil // new, or synced by whoever wrote it before us
	}
	if last.bootID != "" && last.bootID == d.opts.BootID {
		return nil
	}
	newest := newestMeta(readMetas(f, last.meta.pageSize()))
	switch {
	case newest != nil && *newest == last.meta:
		return nil
	case newest != nil && newest.txid() < last.meta.txid():
		return fmt.Errorf("the file is older than its safe point record; if it was put back from a backup, remove %s.safe", f.Name())
	}
	d.rolled = true
	return writeMetas(f, &last.meta)
}

// firstPoint pins the state the database was opened in and records it for this boot.
func (d *DB) firstPoint(ctx context.Context) error {
	pin, m, err := d.openPin()
	if err != nil {
		return err
	}
	d.pin = pin
	d.size, d.pinned = pin.Size(), pin.Size()
	d.reserve()
	last := &d.rec.last
	if last.sequence != 0 && last.meta == *m {
		if last.bootID == d.opts.BootID {
			return nil
		}
		return d.rec.write(d.opts.BootID, m, true)
	}
	return d.record(ctx, m)
}

// RolledBack reports whether Open went back to an older state than the newest one in the file. Names that were
// handed out after the safe point may be in use by files that the database no longer knows.
func (d *DB) RolledBack() bool { return d.rolled }

// View runs fn in a read transaction.
func (d *DB) View(fn func(*bolt.Tx) error) error { return d.bolt.View(fn) }

// Update runs fn in a write transaction and commits it if fn returns nil. When Update returns nil the change survives
// the death of the process; it survives a power loss from the next Sync on. fn must not call Update or Sync.
func (d *DB) Update(fn func(*bolt.Tx) error) error {
	d.write.Lock()
	defer d.write.Unlock()
	if err := d.failure(); err != nil {
		return err
	}
	if err := d.awaitRoom(); err != nil {
		return err
	}
	var size int64
	err := d.bolt.Update(func(tx *bolt.Tx) error {
		defer func() { size = tx.Size() }()
		return fn(tx)
	})
	if err != nil {
		return err
	}
	d.size = size
	d.reserve()
	d.generation.Add(1)
	wake(d.dirty)
	if d.size-d.pinned > d.opts.MaxGrowth/64 {
		wake(d.urgent)
	}
	return nil
}

// reserve keeps blocks allocated behind the last page in use. Copy-on-write
// makes even a removal write new pages: without a reserve, a full disk could
// not be emptied. The caller holds write, or is Open.
func (d *DB) reserve() {
	if d.size+reserveSize/2 <= d.reserved {
		return
	}
	switch err := allocate(d.file, d.size, reserveSize); {
	case err == nil:
		d.reserved, d.scarce = d.size+reserveSize, false
	case errors.Is(err, syscall.ENOSPC):
		d.scarce = true
	}
}

// Exclude runs fn in a write transaction that is rolled back whatever fn returns: no other writer runs meanwhile, and
// nothing is written. fn must not call Update or Sync.
func (d *DB) Exclude(fn func(*bolt.Tx) error) error {
	d.write.Lock()
	defer d.write.Unlock()
	tx, err := d.bolt.Begin(true)
	if err != nil {
		return err
	}
	return errors.Join(fn(tx), tx.Rollback())
}

// awaitRoom holds a writer back while the file has grown too far since the pin. The caller holds write.
func (d *DB) awaitRoom() error {
	for d.size-d.pinned > d.limit() {
		wake(d.urgent)
		for n := d.attempts; d.attempts == n; {
			d.relief.Wait()
		}
		if d.attemptErr != nil {
			return fmt.Errorf("metadata database has grown by %d MiB without a safe point: %w", (d.size-d.pinned)>>20, d.attemptErr)
		}
	}
	return nil
}

// limit is by how much the file may grow between two safe points. On a full
// disk pages must be used again before the reserve is gone. The caller holds
// write.
func (d *DB) limit() int64 {
	if d.scarce {
		return min(d.opts.MaxGrowth, reserveSize/8)
	}
	return d.opts.MaxGrowth
}

// wake leaves a token in a channel of capacity 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Sync returns when every Update that had returned before the call is on the disk, together with what it names. It
// costs nothing when that is so already. It fails with ErrFailed, for good, if the disk refused.
func (d *DB) Sync(ctx context.Context) error {
	target := d.generation.Load()
	if d.safe.Load() >= target {
		return d.failure()
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for metadata sync: %w", context.Cause(ctx))
	}
	// Another call may have covered this one while it waited.
	if d.safe.Load() >= target {
		return d.failure()
	}
	return d.advance(ctx)
}

// Close syncs and closes the database. Transactions must have ended, and no method may be called after it.
func (d *DB) Close() error {
	d.cancel()
	<-d.done
	return errors.Join(d.last, d.release())
}

// release closes what is open.
func (d *DB) release() error {
	var errs []error
	d.unpin()
	if d.bolt != nil {
		errs = append(errs, d.bolt.Close())
	}
	if d.rec != nil {
		errs = append(errs, d.rec.f.Close())
	}
	return errors.Join(errs...)
}

// failure returns the sticky error, or nil.
func (d *DB) failure() error {
	if p := d.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// advance moves the safe point to the newest state. The caller holds turn.
func (d *DB) advance(ctx context.Context) error {
	if err := d.failure(); err != nil {
		return err
	}
	d.write.Lock()
	generation, size := d.generation.Load(), d.size
	next, m, err := d.openPin()
	d.write.Unlock()
	if err != nil {
		return err
	}
	if err := d.record(ctx, m); err != nil {
		next.Rollback()
		return err
	}
	d.unpin()
	d.pin = next
	d.safe.Store(generation)
	d.write.Lock()
	d.pinned = size
	d.write.Unlock()
	return nil
}

// record makes the state of m durable and then says so. A failed flush of what the state names can be tried again; a
// failed sync of the database cannot, see ErrFailed.
func (d *DB) record(ctx context.Context, m *meta) error {
	if d.opts.Flush != nil {
		if err := d.opts.Flush(ctx); err != nil {
			return fmt.Errorf("flush what the metadata names: %w", err)
		}
	}
	err := d.bolt.Sync()
	if err == nil {
		err = d.rec.write(d.opts.BootID, m, true)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	d.failed.Store(&err)
	if d.rec.last.sequence != 0 {
		// Unsynced on purpose: it is for a restart in this boot, where the page cache is what the next Open reads.
		last := d.rec.last.meta
		_ = d.rec.write("", &last, false)
	}
	return err
}

// openPin opens a read transaction on the newest state and finds that state's meta. Writers are held off by the
// caller, so both speak of the same state.
func (d *DB) openPin() (*bolt.Tx, *meta, error) {
	tx, err := d.bolt.Begin(false)
	if err != nil {
		return nil, nil, fmt.Errorf("pin newest state: %w", err)
	}
	m := newestMeta(readMetas(d.file, int64(d.bolt.Info().PageSize)))
	if m == nil || m.txid() != uint64(tx.ID()) {
		tx.Rollback()
		return nil, nil, fmt.Errorf("pin newest state: meta of transaction %d is not in the file", tx.ID())
	}
	return tx, m, nil
}

// unpin closes the pin, if any.
func (d *DB) unpin() {
	if d.pin != nil {
		d.pin.Rollback()
		d.pin = nil
	}
}

// background syncs Interval after the first commit that is not covered yet, and once more when ctx ends.
func (d *DB) background(ctx context.Context) {
	defer close(d.done)
	for d.wait(ctx) {
		err := d.Sync(ctx)
		if err != nil && ctx.Err() == nil && d.opts.OnError != nil {
			d.opts.OnError(err)
		}
		d.write.Lock()
		d.attempts, d.attemptErr = d.attempts+1, err
		d.relief.Broadcast()
		d.write.Unlock()
	}
	d.last = d.Sync(context.WithoutCancel(ctx))
}

// wait returns true when a background Sync is due, false when ctx has ended.
func (d *DB) wait(ctx context.Context) bool {
	var due <-chan time.Time
	for {
		dirty := d.dirty
		if d.opts.Interval < 0 || due != nil {
			dirty = nil // nobody asked for a timer, or it runs
		}
		select {
		case <-dirty:
			timer := time.NewTimer(d.opts.Interval)
			defer timer.Stop()
			due = timer.C
		case <-due:
			return true
		case <-d.urgent:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// reserveSize is how much is kept allocated behind the last page in use: some
// hundred small transactions.
const reserveSize = 2 << 20

// mapCeiling is the address space set aside for the database, so that it is never mapped anew: that would wait for
// the pin, which waits for a Sync. Address space costs nothing.
const mapCeiling = min(16<<30, math.MaxInt/4)

// openBolt opens bbolt with a map large enough for years of growth; a database that still reaches the end of its map
// gets an error from bbolt, and eight times its size at the next start.
func openBolt(path string, openFile func(string, int, os.FileMode) (*os.File, error)) (*bolt.DB, error) {
	size := mapCeiling
	if st, err := os.Stat(path); err == nil {
		size = max(size, int(min(st.Size(), math.MaxInt/64))*8)
	}
	for {
		db, err := bolt.Open(path, 0o600, &bolt.Options{
			NoSync:          true,
			NoGrowSync:      true,
			NoStatistics:    true,
			FreelistType:    bolt.FreelistMapType,
			InitialMmapSize: size,
			MaxSize:         size,
			OpenFile:        openFile,
		})
		// A process with a small address space limit gets a smaller map.
		if !errors.Is(err, syscall.ENOMEM) || size <= 1<<28 {
			return db, err
		}
		size /= 2
	}
}
