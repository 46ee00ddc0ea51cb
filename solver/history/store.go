package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/safebolt"
	"github.com/kilnbuild/kiln/solver/pb/control"
)

// Defaults of Config.
const (
	DefaultMaxAge        = 48 * time.Hour
	DefaultMaxEntries    = 50
	DefaultFinalizeAfter = 3 * time.Second
)

// openTimeout bounds the wait for a database that another process holds.
const openTimeout = 10 * time.Second

var bucketRecords = []byte("records-1")

// Traces has the traces of builds that are being recorded.
type Traces interface {
	// Record keeps the spans of ctx's trace until Take.
	Record(ctx context.Context)
	// Take returns them as clients read them; nil for none.
	Take(ctx context.Context) ([]byte, error)
}

// Config limits a Store.
type Config struct {
	// Root is a directory of the store's own.
	Root string
	// Content and Leases keep blobs, in Namespace. Outputs are looked up in
	// BuildNamespace.
	Content                   content.Store
	Leases                    leases.Manager
	Namespace, BuildNamespace string
	// Durable returns when what is in Content survives a power loss; nil means
	// that it always does.
	Durable func(context.Context) error
	// Traces may be nil: records have no traces then.
	Traces Traces
	// FinalizeAfter is how long a trace may still grow after its build; zero
	// means the default.
	FinalizeAfter time.Duration
	// A record goes when it is older than MaxAge and there are more than
	// MaxEntries newer ones. Zero means the defaults.
	MaxAge     time.Duration
	MaxEntries int
	Now        func() time.Time
}

// Store keeps records. It is a build.Observer.
type Store struct {
	cfg Config
	db  *safebolt.DB

	mu        sync.Mutex
	active    map[string]*control.BuildHistoryRecord
	listeners map[*listener]struct{}
	// listening counts listeners by the build they follow: such records are
	// not removed meanwhile.
	listening map[string]int
	// deleted are records that go when nobody follows them any more. Nobody
	// is shown them until then.
	deleted map[string]bool
	// pending are builds whose record is being written; the channel is closed
	// when it is.
	pending map[string]chan struct{}
	closing bool
	// finalizers are builds whose trace is still to come.
	finalizers map[string]*finalizer
	finalizing sync.WaitGroup
	// changing is held from reading a record to writing it.
	changing sync.Mutex
}

// Open opens a store. Background work ends with Close.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = DefaultMaxEntries
	}
	if cfg.FinalizeAfter == 0 {
		cfg.FinalizeAfter = DefaultFinalizeAfter
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	db, err := openDatabase(ctx, filepath.Join(cfg.Root, "history.db"), cfg.Durable)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketRecords)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open history: %w", err), db.Close())
	}
	return &Store{
		cfg: cfg, db: db, active: map[string]*control.BuildHistoryRecord{}, listeners: map[*listener]struct{}{},
		listening: map[string]int{}, deleted: map[string]bool{}, pending: map[string]chan struct{}{}, finalizers: map[string]*finalizer{},
	}, nil
}

// openDatabase opens the file, or sets it aside if it is none any more.
func openDatabase(ctx context.Context, path string, durable func(context.Context) error) (*safebolt.DB, error) {
	open := func() (db *safebolt.DB, err error) {
		defer func() {
			if p := recover(); p != nil { // bolt's way of saying it
				err = fmt.Errorf("%w: %v", berrors.ErrInvalid, p)
			}
		}()
		return safebolt.Open(ctx, path, safebolt.Options{Flush: durable, LockTimeout: openTimeout, OnError: func(err error) {
			log.G(ctx).WithError(err).Error("build history could not be synced")
		}})
	}
	db, err := open()
	if !errors.Is(err, berrors.ErrInvalid) && !errors.Is(err, berrors.ErrVersionMismatch) && !errors.Is(err, berrors.ErrChecksum) {
		return db, err
	}
	log.G(ctx).WithError(err).Errorf("build history %s is damaged; it is set aside and a new one begun", path)
	if err := os.Rename(path, path+".damaged"); err != nil {
		return nil, err
	}
	if err := os.Remove(path + ".safe"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return open()
}

// Close finishes what is under way and closes the store. No build ends after.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for _, f := range s.finalizers {
		f.hurry()
	}
	s.mu.Unlock()
	err := s.settle(ctx, "")
	s.finalizing.Wait()
	return errors.Join(err, s.db.Close())
}

// put stores a record and tells listeners.
func (s *Store) put(rec *control.BuildHistoryRecord) error {
	data, err := proto.Marshal(rec)
	if err != nil {
		return fmt.Errorf("store build record: %w", err)
	}
	err = s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketRecords).Put([]byte(rec.GetRef()), data) })
	if err != nil {
		return fmt.Errorf("store build record: %w", err)
	}
	s.tell(&control.BuildHistoryEvent{Type: control.BuildHistoryEventType_COMPLETE, Record: rec})
	return nil
}

// change applies fn to a stored record and tells listeners.
func (s *Store) change(ref string, fn func(*control.BuildHistoryRecord)) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	rec, err := s.get(ref)
	if err != nil {
		return err
	}
	fn(rec)
	rec.Generation++
	return s.put(rec)
}

// get returns a stored record; os.ErrNotExist if there is none.
func (s *Store) get(ref string) (*control.BuildHistoryRecord, error) {
	s.mu.Lock()
	deleted := s.deleted[ref]
	s.mu.Unlock()
	rec := &control.BuildHistoryRecord{}
	err := s.db.View(func(tx *bolt.Tx) error {
		data := tx.Bucket(bucketRecords).Get([]byte(ref))
		if data == nil || deleted {
			return fmt.Errorf("build record %s: %w: %w", ref, os.ErrNotExist, errdefs.ErrNotFound)
		}
		return proto.Unmarshal(data, rec)
	})
	return rec, err
}

// all returns the stored records in no order.
func (s *Store) all() ([]*control.BuildHistoryRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*control.BuildHistoryRecord
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketRecords).ForEach(func(id, data []byte) error {
			if s.deleted[string(id)] {
				return nil
			}
			rec := &control.BuildHistoryRecord{}
			if err := proto.Unmarshal(data, rec); err != nil {
				return err
			}
			out = append(out, rec)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list build records: %w", err)
	}
	return out, nil
}

// remove deletes a record with its blobs and tells listeners. One that
// somebody follows is hidden now and deleted when nobody does any more.
func (s *Store) remove(ctx context.Context, ref string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	if s.listening[ref] > 0 {
		s.deleted[ref] = true
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	// The record goes first: what is left without one is a lease, which costs
	// space but lies to nobody.
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketRecords).Delete([]byte(ref)) })
	if err != nil {
		return fmt.Errorf("delete build record: %w", err)
	}
	s.mu.Lock()
	delete(s.deleted, ref)
	s.mu.Unlock()
	s.tell(&control.BuildHistoryEvent{Type: control.BuildHistoryEventType_DELETED, Record: &control.BuildHistoryRecord{Ref: ref}})
	// No going back to a state that names the blobs after they are gone.
	if err := s.db.Sync(ctx); err != nil {
		return fmt.Errorf("delete build record: %w", err)
	}
	return s.dropBlobs(ctx, ref)
}

// Update pins, deletes or finalizes a record. The error matches errdefs
// NotFound if there is none.
func (s *Store) Update(ctx context.Context, req *control.UpdateBuildHistoryRequest) error {
	ref := req.GetRef()
	if err := s.settle(ctx, ref); err != nil {
		return err
	}
	switch {
	case req.GetFinalize():
		return s.finalize(ctx, ref)
	case req.GetDelete():
		if err := s.finalize(ctx, ref); err != nil {
			return err
		}
		if _, err := s.get(ref); err != nil {
			return err
		}
		return errors.Join(s.remove(ctx, ref), s.expire(ctx))
	}
	return s.change(ref, func(rec *control.BuildHistoryRecord) { rec.Pinned = req.GetPinned() })
}
