package snapshotter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/continuity/fs"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/safebolt"
)

// MaxLayers is the longest stack of lower directories overlay mounts. A
// Prepare, View or Commit that would exceed it fails with OutOfRange; the
// caller flattens before that.
const MaxLayers = 500

// walkBatch is how many records one read transaction of Walk holds.
const walkBatch = 256

// Snapshotter is the overlay snapshotter on one root directory. It implements
// snapshots.Snapshotter, snapshots.Cleaner, Merger, Dirs and Indexes.
// All methods are safe for concurrent use.
type Snapshotter struct {
	config  Config
	options []string // of every overlay mount
	layout  *layout
	store   *store
	disk    *disk

	cleaning sync.Mutex  // held by the one running Cleanup
	rescan   atomic.Bool // directories without metadata may exist

	closing sync.Once
	closed  error
}

var (
	_ snapshots.Snapshotter = (*Snapshotter)(nil)
	_ snapshots.Cleaner     = (*Snapshotter)(nil)
)

// New opens the snapshotter on root, which is created if needed. One process
// at a time may have a root open; a second one gets an error after 2 seconds.
// The work done does not depend on how many snapshots there are, nor on how
// the previous process ended: what it left behind is the first Cleanup's work.
func New(ctx context.Context, root string, cfg Config) (*Snapshotter, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("resolve snapshot root: %w", err)
	}
	if err := cfg.validate(root); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := &layout{root: root, run: rand.Text()}
	fresh := !exists(l.db())
	if err := l.create(); err != nil {
		return nil, err
	}
	if fresh {
		if ok, err := fs.SupportsDType(root); err != nil {
			return nil, fmt.Errorf("check file system of snapshot root: %w", err)
		} else if !ok {
			return nil, fmt.Errorf("file system of %s has no d_type, which overlay needs (for xfs: mkfs with ftype=1): %w", root, errdefs.ErrFailedPrecondition)
		}
	}
	d, err := openDisk(root)
	if err != nil {
		return nil, err
	}
	st, err := openStore(ctx, l.db(), &cfg, safebolt.Options{
		// Layers are durable before their names in any case, see Commit; put
		// says which have been left to this.
		Flush:    func(context.Context) error { return d.flush() },
		Interval: cfg.syncInterval(),
		OnError:  func(err error) { log.G(ctx).WithError(err).Error("snapshots could not be synced") },
	})
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	s := &Snapshotter{config: cfg, options: cfg.overlayOptions(), layout: l, store: st, disk: d}
	s.rescan.Store(true)
	return s, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Close releases the database. Mounts are not touched. Closing again returns
// what the first call returned; other methods fail with Unavailable afterwards.
func (s *Snapshotter) Close() error {
	s.closing.Do(func() { s.closed = errors.Join(s.store.close(), s.disk.close()) })
	return s.closed
}

// Sync returns when every change that was made before the call is durable,
// layers included. Without Config.DeferSync that is so anyway. It fails with
// DataLoss, for good, when the disk has refused a layer.
func (s *Snapshotter) Sync(ctx context.Context) error {
	if s.config.NoMetadataSync && !s.config.DeferSync {
		return nil
	}
	if err := s.store.db.Sync(ctx); err != nil {
		return fmt.Errorf("sync snapshots: %w", err)
	}
	return nil
}

// Stat returns what is known about a snapshot; NotFound if there is none.
func (s *Snapshotter) Stat(_ context.Context, key string) (snapshots.Info, error) {
	r, err := s.record(key)
	if err != nil {
		return snapshots.Info{}, err
	}
	return r.info(key), nil
}

// record reads one record in a transaction of its own.
func (s *Snapshotter) record(key string) (r record, err error) {
	err = s.store.view(func(tx *storeTx) error {
		r, err = tx.get(key)
		return err
	})
	return r, err
}

// Update changes labels, the only mutable property: those named by fieldpaths
// ("labels" or "labels.NAME"), or all of them when there are none. An empty
// value removes a label. Other paths fail with InvalidArgument.
func (s *Snapshotter) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	var updated record
	err := s.store.change(ctx, info.Name, func(tx *storeTx) error {
		r, err := tx.get(info.Name)
		if err == nil {
			err = checkSettled(info.Name, &r)
		}
		if err != nil {
			return err
		}
		if err := updateLabels(&r, info, fieldpaths); err != nil {
			return err
		}
		r.Updated = s.now()
		updated = r
		return tx.put(info.Name, &r)
	})
	if err != nil {
		return snapshots.Info{}, fmt.Errorf("update snapshot: %w", err)
	}
	return updated.info(info.Name), nil
}

func updateLabels(r *record, info snapshots.Info, fieldpaths []string) error {
	labels := info.Labels
	if len(fieldpaths) > 0 {
		labels = maps.Clone(r.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
	}
	for _, path := range fieldpaths {
		name, one := strings.CutPrefix(path, "labels.")
		switch {
		case one:
			labels[name] = info.Labels[name]
		case path == "labels":
			labels = maps.Clone(info.Labels)
			if labels == nil {
				labels = map[string]string{}
			}
		default:
			return fmt.Errorf("field %q of snapshot %q is not mutable: %w", path, info.Name, errdefs.ErrInvalidArgument)
		}
	}
	r.setLabels(labels)
	return nil
}

func (s *Snapshotter) now() int64 { return s.config.Now().UnixNano() }

// Walk calls fn for every snapshot that matches any of the filters (name,
// parent, kind, labels."x"), in the order of names and volatile ones at the end.
// It holds no transaction while fn runs, so fn may call any method; what changes
// meanwhile may or may not be seen.
func (s *Snapshotter) Walk(ctx context.Context, fn snapshots.WalkFunc, filter ...string) error {
	match, err := filters.ParseAll(filter...)
	if err != nil {
		return fmt.Errorf("parse snapshot filter: %w", err)
	}
	for after := ""; ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, last, err := s.batch(after, match)
		if err != nil {
			return err
		}
		for _, info := range batch {
			if err := fn(ctx, info); err != nil {
				return err
			}
		}
		if last == "" {
			break
		}
		after = last
	}
	for _, info := range s.store.volatiles.infos() {
		if !match.Match(filterAdaptor(info)) {
			continue
		}
		if err := fn(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// batch reads up to walkBatch records after a name. last is where to go on
// from, or "" at the end.
func (s *Snapshotter) batch(after string, match filters.Filter) (infos []snapshots.Info, last string, err error) {
	err = s.store.view(func(tx *storeTx) error {
		c := tx.snapshots.Cursor()
		k, v := c.Seek([]byte(after))
		if k != nil && string(k) == after && after != "" {
			k, v = c.Next()
		}
		for n := 0; k != nil; k, v = c.Next() {
			if n == walkBatch {
				return nil
			}
			n++
			last = string(k)
			r, err := decodeRecord(last, v)
			if err != nil {
				return err
			}
			if info := r.info(last); match.Match(filterAdaptor(info)) {
				infos = append(infos, info)
			}
		}
		last = ""
		return nil
	})
	return infos, last, err
}

// Usage returns what the snapshot itself occupies, without its parents: blocks
// allocated times 512, and inodes, a file with several links counted once.
// For a committed snapshot it was computed by Commit; for an active one the
// layer is walked now, without any lock. A view occupies nothing.
func (s *Snapshotter) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	r, err := s.record(key)
	if err != nil {
		return snapshots.Usage{}, err
	}
	if r.Kind != snapshots.KindActive {
		return snapshots.Usage{Inodes: r.Inodes, Size: r.Size}, nil
	}
	usage, err := diskUsage(ctx, s.layout.upper(r.ID))
	if err != nil {
		return snapshots.Usage{}, fmt.Errorf("usage of snapshot %q: %w", key, err)
	}
	return usage, nil
}

// Mounts returns the mounts of an active snapshot or a view, as Prepare or
// View did; FailedPrecondition for a committed one. A volatile snapshot is made
// mountable again by this call, see WithVolatile.
func (s *Snapshotter) Mounts(_ context.Context, key string) ([]mount.Mount, error) {
	var p placed
	err := s.store.view(func(tx *storeTx) (err error) {
		if p.record, err = tx.get(key); err != nil {
			return err
		}
		return p.load(tx)
	})
	if err != nil {
		return nil, err
	}
	if p.record.Kind == snapshots.KindCommitted {
		return nil, fmt.Errorf("mount snapshot %q: it is committed, use View: %w", key, errdefs.ErrFailedPrecondition)
	}
	if p.record.volatile {
		if err := s.layout.remountable(p.record.ID); err != nil {
			return nil, err
		}
	}
	return s.mounts(&p), nil
}

// resolve finds the record for a key given by code inside the daemon: the name
// that a client of containerd uses in the context's namespace, or else the name
// that this snapshotter was given. The client's comes first: it is free to call
// a snapshot what another namespace's one is called here.
func resolve(ctx context.Context, tx *storeTx, key string) (record, error) {
	if namespace, ok := namespaces.Namespace(ctx); ok {
		if name := tx.newest(namespace, key); name != "" {
			return tx.get(name)
		}
	}
	return tx.get(key)
}
