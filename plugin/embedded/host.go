package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/events/exchange"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/differ/linked"
	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/plugin/dirlock"
	"github.com/kilnbuild/kiln/safebolt"
	"github.com/kilnbuild/kiln/snapshotter"
)

// Differ compares and applies.
type Differ interface {
	diff.Comparer
	diff.Applier
}

// Config are the inputs of Open. Root, State and Namespace are needed.
type Config struct {
	// Root and State are absolute directories; they are made if missing, Root with mode 0700, State with 0711 so that
	// sockets in it can be given to a group.
	Root, State string
	// Namespace is the builder's namespace.
	Namespace string
	// IsolateContent makes a namespace prove that it has a blob's bytes before it sees a blob of another namespace.
	IsolateContent bool
	// GC says when to collect.
	GC GC
	// SyncInterval is how long metadata may wait for its safe point when nobody asks for one; see safebolt.Options.
	SyncInterval time.Duration
	// Snapshotter tunes kiln's snapshotter.
	Snapshotter snapshotter.Config
	// NewDiffer makes the differ over the namespaced content store. nil means kiln's differ as it is.
	NewDiffer func(content.Store) (Differ, error)
}

func (c *Config) validate() error {
	for name, dir := range map[string]string{"root": c.Root, "state": c.State} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("%s directory %q must be an absolute path: %w", name, dir, errdefs.ErrInvalidArgument)
		}
	}
	if c.Namespace == "" {
		return fmt.Errorf("namespace must not be empty: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// Host is an open set of services. See Open.
type Host struct {
	host      plugin.Host
	collector *collector
	services  *services

	// Closed in this order; each is nil until it is open.
	server  *server
	meta    *metadata.DB
	backend snapshots.Snapshotter
	locks   []*os.File
}

// Open takes the root directory and opens everything in it. ctx bounds the opening; its values (the logger) are kept.
// The error matches errdefs.ErrUnavailable if another process owns the directory.
func Open(ctx context.Context, cfg Config) (*Host, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	h := &Host{}
	if err := h.open(ctx, &cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("open embedded containerd: %w", err), h.Close(context.WithoutCancel(ctx)))
	}
	return h, nil
}

func (h *Host) open(ctx context.Context, cfg *Config) error {
	if err := makeDirectories(cfg); err != nil {
		return err
	}
	for _, dir := range []string{cfg.Root, cfg.State} {
		f, err := dirlock.Take(dir)
		if err != nil {
			return err
		}
		h.locks = append(h.locks, f)
	}
	files, err := local.NewStore(filepath.Join(cfg.Root, "content"))
	if err != nil {
		return fmt.Errorf("open content store: %w", err)
	}
	blobs, err := linked.Wrap(files, filepath.Join(cfg.Root, "linked"))
	if err != nil {
		return fmt.Errorf("open content store: %w", err)
	}
	// The safe point of the metadata syncs the backend first: see metadata.go.
	cfg.Snapshotter.DeferSync = true
	backend, err := snapshotter.New(ctx, filepath.Join(cfg.Root, "snapshots"), cfg.Snapshotter)
	if err != nil {
		return fmt.Errorf("open snapshotter: %w", err)
	}
	h.backend = backend
	events := exchange.NewExchange()
	mdb, bdb, err := openMetadata(ctx, cfg, backends{content: blobs, snapshotter: backend}, events)
	if err != nil {
		return err
	}
	h.meta = mdb
	h.collector = startCollector(ctx, cfg.GC, mdb.GarbageCollect)
	mdb.RegisterMutationCallback(h.collector.mutated)

	differ, err := newDiffer(cfg, mdb.ContentStore(), blobs)
	if err != nil {
		return fmt.Errorf("make differ: %w", err)
	}
	h.services, err = assemble(ctx, parts{
		root: cfg.Root, meta: mdb, events: events, collector: h.collector, differ: differ,
	})
	if err != nil {
		return err
	}
	h.host = h.contract(cfg, bdb, events, differ)
	return ensureNamespace(ctx, h.host.Namespaces, cfg.Namespace)
}

// contract is what the builder sees.
func (h *Host) contract(cfg *Config, bdb *safebolt.DB, events *exchange.Exchange, differ Differ) plugin.Host {
	return plugin.Host{
		Content:         h.meta.ContentStore(),
		Images:          metadata.NewImageStore(h.meta),
		Private:         true,
		Leases:          h.services.leases,
		Namespaces:      namespaceStore{h.meta},
		Snapshotter:     h.meta.Snapshotter(SnapshotterName),
		SnapshotterName: SnapshotterName,
		Backend:         h.backend,
		Comparer:        differ,
		Applier:         differ,
		Events:          events,
		Namespace:       cfg.Namespace,
		Root:            cfg.Root,
		State:           cfg.State,
		UUID:            h.services.uuid,
		GarbageCollect: func(ctx context.Context) error {
			_, err := h.collector.ScheduleAndWait(ctx)
			return err
		},
		Sync: bdb.Sync,
	}
}

// Host returns the services as a builder wants them. They end with Close.
func (h *Host) Host() plugin.Host { return h.host }

// Close stops serving, ends a running collection, syncs and closes the stores and gives the directory back. ctx bounds
// the wait for callers on the socket, after which they are cut off; the rest is not given up half-way. The services
// must not be in use in this process any more.
func (h *Host) Close(ctx context.Context) error {
	var errs []error
	if h.server != nil {
		h.server.close(ctx)
	}
	if h.collector != nil {
		h.collector.close()
	}
	if h.meta != nil {
		errs = append(errs, h.meta.Close())
	}
	if h.backend != nil {
		errs = append(errs, h.backend.Close())
	}
	for _, f := range h.locks {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// makeDirectories makes what is missing. An existing root that others can enter is closed to them: snapshots hold
// set-uid files of other systems.
func makeDirectories(cfg *Config) error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{cfg.Root, 0o700}, {cfg.State, 0o711}} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if err := os.Chmod(cfg.Root, 0o700); err != nil {
		return fmt.Errorf("close root directory to others: %w", err)
	}
	return nil
}
