package ref

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/solver"
)

// Labels of the leases a Store owns.
const (
	// labelStore says which Store, labelRun which process of it.
	labelStore = "kiln/ref.store"
	labelRun   = "kiln/ref.run"
)

// Store makes, finds and removes refs. See the package documentation.
type Store struct {
	cfg Config
	db  *database
	// id is derived from Root, so that a new database finds old leases; run
	// is new for every Open.
	id, run string
	serial  atomic.Uint64
	// compares bounds how many blobs are made at once.
	compares chan struct{}
	// fetches bounds how many layers are fetched at once.
	fetches chan struct{}

	indexes *indexCache
	digests *digestCache
	flights flightGroup
	used    usedLog

	addresses addresses

	runLease struct {
		sync.Mutex
		made bool
	}

	mu      sync.Mutex // guards what follows, and what entry says it guards
	entries map[string]*entry
	// dying are leases of refs that are being removed: their records must not
	// be read any more.
	dying    map[string]struct{}
	locked   map[string]struct{} // keys of LockMutable
	onRemove []func(id string)
	closed   bool
	// pruning is held for the length of a Prune.
	pruning chan struct{}
}

// Open opens the Store of cfg.Root, taking the same time for any number of
// refs. Mounts that a killed process left below Root are unmounted.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("resolve ref root: %w", err)
	}
	cfg.Root = root
	for _, dir := range []string{root, filepath.Join(root, mountsDir), filepath.Join(root, indexesDir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("create ref root: %w", err)
		}
	}
	db, err := openDatabase(ctx, root, durableIn(cfg))
	if err != nil {
		return nil, err
	}
	if err := unmountLeftovers(ctx, filepath.Join(root, mountsDir)); err != nil {
		return nil, withCleanup(err, db.bolt.Close())
	}
	sum := sha256.Sum256([]byte(cfg.Namespace + "\x00" + root))
	s := &Store{
		cfg:      cfg,
		db:       db,
		id:       hex.EncodeToString(sum[:8]),
		run:      newID()[:12],
		compares: make(chan struct{}, maxCompares),
		fetches:  make(chan struct{}, maxFetches),
		indexes:  newIndexCache(),
		digests:  newDigestCache(),
		entries:  map[string]*entry{},
		dying:    map[string]struct{}{},
		locked:   map[string]struct{}{},
		pruning:  make(chan struct{}, 1),
	}
	s.used.init(s)
	return s, nil
}

// Close writes what is still in memory and closes the database. Refs that are
// held stay readable by their paths but no call on them works any more. Refs
// that were never kept are left to the Sweep of the next process.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.used.stop()
	err := s.db.bolt.Update(s.used.write)
	if cerr := s.db.bolt.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("close ref store: %w", err)
	}
	return nil
}

// OnRemove registers fn to be called, without locks, with the id of every ref
// that was removed from disk. Register before use.
func (s *Store) OnRemove(fn func(id string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onRemove = append(s.onRemove, fn)
}

// Keep writes the record of the ref behind res, together with those of all it
// is made of. It then lives until Prune removes it, held or not, and whatever
// becomes of this process; a power loss it survives after a few seconds, or
// after Sync. A nil result is kept as it is.
func (s *Store) Keep(ctx context.Context, res solver.Result) error {
	r, err := From(res)
	if err != nil || r == nil {
		return err
	}
	s.mu.Lock()
	done := r.e.rec.Kept && r.e.stored
	s.mu.Unlock()
	if done {
		return nil
	}
	if err := s.store(ctx, r.e, true); err != nil {
		return err
	}
	// The build that made it is the first to use it.
	s.used.touch(r.e.id, true)
	return nil
}

// Sync returns when everything that was kept before the call survives a power
// loss.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.db.sync(ctx); err != nil {
		return fmt.Errorf("sync refs: %w", err)
	}
	return nil
}

// durableIn is Config.Durable in the Store's namespace; nil without.
func durableIn(cfg Config) func(context.Context) error {
	if cfg.Durable == nil {
		return nil
	}
	return func(ctx context.Context) error { return cfg.Durable(namespaces.WithNamespace(ctx, cfg.Namespace)) }
}

// Load returns a hold on the kept ref id, for solver/cache. It is Get.
func (s *Store) Load(ctx context.Context, id string) (solver.Result, error) {
	r, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Get returns a hold on the ref id, or an error of kind NotFound when it is
// gone or its snapshot is. It counts as a use.
func (s *Store) Get(ctx context.Context, id string) (*Ref, error) {
	e, err := s.hold(ctx, id)
	if err != nil {
		return nil, err
	}
	if e.kind() != kindLayer && e.kind() != kindStack {
		s.release(ctx, e)
		return nil, fmt.Errorf("ref %s: %w", id, errdefs.ErrNotFound)
	}
	s.used.touch(id, true)
	return newRef(e), nil
}

// store writes the records of e and of all that it is made of, in one
// transaction. kept marks e itself as kept.
func (s *Store) store(ctx context.Context, e *entry, kept bool) error {
	var written []*entry
	err := s.db.bolt.Update(func(tx *bolt.Tx) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.dead {
			return fmt.Errorf("keep ref %s: %w", e.id, errdefs.ErrNotFound)
		}
		// Ancestors without a record get one too, in the same transaction:
		// children are never on disk without what they are made of.
		written = e.unstored(nil)
		if !e.stored {
			written = append(written, e)
		} else if kept && !e.rec.Kept {
			written = append(written, e)
		}
		for _, w := range written {
			rec := w.rec
			rec.Kept = rec.Kept || kept && w == e
			if err := txPut(tx, &rec); err != nil {
				return err
			}
		}
		return s.used.write(tx)
	})
	if err != nil {
		return fmt.Errorf("store ref %s: %w", e.id, err)
	}
	// Only now, when the transaction is on disk, they count as stored.
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range written {
		w.stored = true
	}
	e.rec.Kept = e.rec.Kept || kept
	return nil
}

// save writes the record of e again after a change, if it has one.
func (s *Store) save(e *entry) error {
	s.mu.Lock()
	stored := e.stored
	s.mu.Unlock()
	if !stored {
		return nil
	}
	err := s.db.bolt.Update(func(tx *bolt.Tx) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.dead {
			return nil
		}
		return txPut(tx, &e.rec)
	})
	if err != nil {
		return fmt.Errorf("update ref %s: %w", e.id, err)
	}
	return nil
}

// ctx returns ctx in the Store's namespace. A lease of the caller's stays: it
// may own what a call makes, but nothing is made without a lease of the Store's.
func (s *Store) ctx(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.cfg.Namespace)
}

// leased returns ctx under a lease of the Store's.
func (s *Store) leased(ctx context.Context, lease string) context.Context {
	return leases.WithLease(s.ctx(ctx), lease)
}

// unique returns a name that no other process and no other call uses.
func (s *Store) unique() string {
	return s.run + "-" + strconv.FormatUint(s.serial.Add(1), 10)
}

// createLease makes a lease and returns its id.
func (s *Store) createLease(ctx context.Context, id string) error {
	_, err := s.cfg.Leases.Create(s.ctx(ctx), leases.WithID(id),
		leases.WithLabels(map[string]string{labelStore: s.id, labelRun: s.run}))
	if err != nil {
		return fmt.Errorf("create lease %s: %w", id, err)
	}
	return nil
}

// deleteLease deletes a lease; one that is gone is no error.
func (s *Store) deleteLease(ctx context.Context, id string) error {
	err := s.cfg.Leases.Delete(s.ctx(ctx), leases.Lease{ID: id})
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete lease %s: %w", id, err)
	}
	return nil
}

// viewContext returns ctx under the lease of this process, which owns what
// need not outlive it.
func (s *Store) viewContext(ctx context.Context) (context.Context, error) {
	id := "kiln-run-" + s.id + "-" + s.run
	s.runLease.Lock()
	defer s.runLease.Unlock()
	if !s.runLease.made {
		if err := s.createLease(ctx, id); err != nil {
			return nil, err
		}
		s.runLease.made = true
	}
	return s.leased(ctx, id), nil
}
