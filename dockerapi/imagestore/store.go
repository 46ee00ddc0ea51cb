package imagestore

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/solver/registry"
	pull "github.com/kilnbuild/kiln/solver/source/image"
)

// leaseLife is how long a lease lives whose operation was cut off with the
// daemon.
const leaseLife = 24 * time.Hour

// Config is what a Store works on; all members are required unless they say
// otherwise.
type Config struct {
	Namespace       string
	Content         content.Store
	Images          images.Store
	Leases          leases.Manager
	Snapshotter     snapshots.Snapshotter
	SnapshotterName string
	Applier         diff.Applier
	// Comparer makes layers of snapshots; only a Squasher needs it.
	Comparer diff.Comparer
	// Collect removes what nothing holds; Sync returns when what was stored
	// survives a power loss. Both optional.
	Collect, Sync func(context.Context) error
	Registries    *registry.Client
	// Events, optional, is told what happens to images.
	Events *event.Hub
	// Platform is the machine's; zero for that of this process.
	Platform ocispecs.Platform
	// HTTP fetches what is imported from URLs; nil for the default client.
	HTTP *http.Client
	// Plain is how many bytes an archive may have however few they were before
	// they were decompressed; zero for a gigabyte.
	Plain int64
}

// Store is a containerd's images.
type Store struct {
	cfg     Config
	puller  *pull.Puller
	pruning atomic.Bool
}

// New returns a Store.
func New(cfg Config) *Store {
	if cfg.Platform.OS == "" {
		cfg.Platform = platforms.DefaultSpec()
	}
	if cfg.HTTP == nil {
		cfg.HTTP = http.DefaultClient
	}
	if cfg.Plain == 0 {
		cfg.Plain = defaultPlain
	}
	return &Store{cfg: cfg, puller: pull.NewPuller(pull.Config{Content: cfg.Content, Leases: cfg.Leases, Namespace: cfg.Namespace})}
}

// SnapshotterName is the name of the snapshotter that images are unpacked to.
func (s *Store) SnapshotterName() string { return s.cfg.SnapshotterName }

func (s *Store) ctx(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.cfg.Namespace)
}

// hold returns ctx under a lease. release ends it; what only the lease held is
// collected before it returns if the operation failed.
func (s *Store) hold(ctx context.Context) (held context.Context, release func(failed bool), err error) {
	ctx = s.ctx(ctx)
	l, err := s.cfg.Leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseLife))
	if err != nil {
		return nil, nil, fmt.Errorf("create lease: %w", err)
	}
	return leases.WithLease(ctx, l.ID), func(failed bool) {
		ctx := context.WithoutCancel(ctx)
		if err := s.cfg.Leases.Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			log.G(ctx).WithError(err).Warn("delete lease of an image operation")
		}
		if failed {
			s.collect(ctx)
		}
	}, nil
}

// collect removes what nothing holds any more; failing costs space only.
func (s *Store) collect(ctx context.Context) {
	if s.cfg.Collect == nil {
		return
	}
	if err := s.cfg.Collect(context.WithoutCancel(ctx)); err != nil {
		log.G(ctx).WithError(err).Warn("collect what images left")
	}
}

// sync makes what was stored survive a power loss.
func (s *Store) sync(ctx context.Context) error {
	if s.cfg.Sync == nil {
		return nil
	}
	if err := s.cfg.Sync(ctx); err != nil {
		return fmt.Errorf("store image: %w", err)
	}
	return nil
}

// announce tells what happened to an image. name is how it was called.
func (s *Store) announce(ctx context.Context, action, id, name string) {
	attributes := map[string]string{}
	if im, err := s.Resolve(ctx, id); err == nil {
		if v, err := s.Best(ctx, im, nil); err == nil {
			for k, l := range v.Config.Config.Labels {
				attributes[k] = l
			}
		}
	}
	attributes["name"] = name
	s.cfg.Events.Publish(event.Event{Type: event.TypeImage, Action: action, ID: id, Attributes: attributes})
}
