package history

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

// Defaults of Config.
const (
	DefaultMaxAge     = 48 * time.Hour
	DefaultMaxEntries = 50
)

// openTimeout bounds the wait for a database that another process holds.
const openTimeout = 10 * time.Second

var bucketRecords = []byte("records-1")

// Config limits a Store.
type Config struct {
	// Root is a directory of the store's own.
	Root string
	// A record goes when it is older than MaxAge and there are more than
	// MaxEntries newer ones. Zero means the defaults.
	MaxAge     time.Duration
	MaxEntries int
	Now        func() time.Time
}

// Store keeps records. It is a build.Observer.
type Store struct {
	cfg Config
	db  *bolt.DB

	mu        sync.Mutex
	active    map[string]*control.BuildHistoryRecord
	listeners map[*listener]struct{}
	// listening counts listeners by the build they follow: such records are
	// not removed meanwhile.
	listening map[string]int
}

// Open opens a store.
func Open(cfg Config) (*Store, error) {
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = DefaultMaxEntries
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(filepath.Join(cfg.Root, "logs"), 0o700); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	db, err := bolt.Open(filepath.Join(cfg.Root, "history.db"), 0o600, &bolt.Options{Timeout: openTimeout})
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
		cfg: cfg, db: db, active: map[string]*control.BuildHistoryRecord{},
		listeners: map[*listener]struct{}{}, listening: map[string]int{},
	}, nil
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

func (s *Store) logPath(ref string) string {
	return filepath.Join(s.cfg.Root, "logs", digest.FromString(ref).Encoded())
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

// get returns a stored record; os.ErrNotExist if there is none.
func (s *Store) get(ref string) (*control.BuildHistoryRecord, error) {
	rec := &control.BuildHistoryRecord{}
	err := s.db.View(func(tx *bolt.Tx) error {
		data := tx.Bucket(bucketRecords).Get([]byte(ref))
		if data == nil {
			return fmt.Errorf("build record %s: %w", ref, os.ErrNotExist)
		}
		return proto.Unmarshal(data, rec)
	})
	return rec, err
}

// all returns the stored records in no order.
func (s *Store) all() ([]*control.BuildHistoryRecord, error) {
	var out []*control.BuildHistoryRecord
	err := s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketRecords).ForEach(func(_, data []byte) error {
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

// remove deletes a record with its log and tells listeners.
func (s *Store) remove(ref string) error {
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketRecords).Delete([]byte(ref)) })
	if err != nil {
		return fmt.Errorf("delete build record: %w", err)
	}
	if err := os.Remove(s.logPath(ref)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete build log: %w", err)
	}
	s.tell(&control.BuildHistoryEvent{Type: control.BuildHistoryEventType_DELETED, Record: &control.BuildHistoryRecord{Ref: ref}})
	return nil
}

// Update pins or deletes a record. Finalizing has nothing to wait for.
func (s *Store) Update(_ context.Context, req *control.UpdateBuildHistoryRequest) error {
	rec, err := s.get(req.GetRef())
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return errors.Join(err, errdefs.ErrNotFound)
		}
		return err
	}
	switch {
	case req.GetDelete():
		return s.remove(req.GetRef())
	case req.GetFinalize():
		return nil
	}
	rec.Pinned = req.GetPinned()
	rec.Generation++
	return s.put(rec)
}
