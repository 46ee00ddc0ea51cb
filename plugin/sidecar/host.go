package sidecar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/client"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	introspectionproxy "github.com/containerd/containerd/v2/core/introspection/proxy"
	"github.com/containerd/containerd/v2/core/leases"
	leasesproxy "github.com/containerd/containerd/v2/core/leases/proxy"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/plugin"
	"github.com/kilnbuild/kiln/plugin/dirlock"
	"github.com/kilnbuild/kiln/plugin/proxy"
	"github.com/kilnbuild/kiln/snapshotter"
)

// defaultWait is how long a containerd that is being started may take to answer.
const defaultWait = 10 * time.Second

// callerWait is how long a containerd may take to find the offer; its pauses are of three seconds at most.
const (
	callerWait  = 5 * time.Second
	callerPause = 100 * time.Millisecond
)

// defaultSnapshotterLabel is where containerd's clients look for the snapshotter to use in a namespace.
const defaultSnapshotterLabel = "containerd.io/defaults/snapshotter"

// Config are the inputs of Open. All but the ones called optional are needed.
type Config struct {
	// Address is the containerd's socket: a path, or unix:// and a path.
	Address string
	// Root and State are absolute directories of the builder's own; they are made if missing.
	Root, State string
	// Namespace is the builder's namespace; it is made if missing.
	Namespace string
	// Snapshotter, optional, is the name of one of the containerd's snapshotters; empty or "auto" takes the best.
	Snapshotter string
	// Wait, optional, is how long the containerd may take to answer; 0 means ten seconds.
	Wait time.Duration
}

// Host is a containerd in another process. See Open.
type Host struct {
	host plugin.Host
	conn *connection
	info introspectionapi.IntrospectionClient

	// Closed in this order; each may be nil.
	offer   *proxy.Server
	backend *snapshotter.Snapshotter
	lock    *os.File
}

// Open connects to a containerd. ctx bounds the opening. The error matches errdefs.ErrUnavailable if the containerd does
// not answer or another process owns a directory, and errdefs.ErrNotFound if it has no such snapshotter.
func Open(ctx context.Context, cfg Config) (*Host, error) {
	h := &Host{}
	if err := h.open(ctx, &cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("use containerd at %s: %w", cfg.Address, err), h.Close(context.WithoutCancel(ctx)))
	}
	return h, nil
}

func (h *Host) open(ctx context.Context, cfg *Config) error {
	path, err := socketPath(cfg.Address)
	if err != nil {
		return err
	}
	for dir, mode := range map[string]os.FileMode{cfg.Root: 0o700, cfg.State: 0o711} {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("directory %q must be an absolute path: %w", dir, errdefs.ErrInvalidArgument)
		}
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if h.lock, err = dirlock.Take(cfg.Root); err != nil {
		return err
	}
	if h.conn, err = connect(path); err != nil {
		return err
	}
	h.info = introspectionapi.NewIntrospectionClient(h.conn)
	chosen, err := h.reach(ctx, cfg)
	if err != nil {
		return err
	}
	h.host = h.contract(cfg, chosen)
	created, err := h.ensureNamespace(ctx, chosen.name)
	if err != nil {
		return err
	}
	log.G(ctx).Infof("working in containerd at %s, namespace %s (new: %t), snapshotter %s", path, cfg.Namespace, created, chosen.name)
	return h.serveOffer(ctx, chosen)
}

// reach waits until the containerd answers and chooses the snapshotter.
func (h *Host) reach(ctx context.Context, cfg *Config) (choice, error) {
	wait := cfg.Wait
	if wait <= 0 {
		wait = defaultWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	// The pause between attempts is the connection's.
	list, err := h.info.Plugins(ctx, &introspectionapi.PluginsRequest{}, grpc.WaitForReady(true))
	if err != nil {
		if ctx.Err() != nil {
			return choice{}, fmt.Errorf("it did not answer within %s; is it running?: %w", wait, errdefs.ErrUnavailable)
		}
		return choice{}, fmt.Errorf("list plugins: %w", err)
	}
	return choose(list.Plugins, cfg.Snapshotter)
}

// contract is what the builder sees.
func (h *Host) contract(cfg *Config, chosen choice) plugin.Host {
	holds := leasesproxy.NewLeaseManager(leasesapi.NewLeasesClient(h.conn))
	store := &blobs{Store: contentproxy.NewContentStore(h.conn), leases: holds}
	own := differ.New(store, differ.Config{})
	return plugin.Host{
		Content:         store,
		Images:          client.NewImageStoreFromClient(imagesapi.NewImagesClient(h.conn)),
		Leases:          holds,
		Namespaces:      client.NewNamespaceStoreFromClient(namespacesapi.NewNamespacesClient(h.conn)),
		Snapshotter:     snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(h.conn), chosen.name),
		SnapshotterName: chosen.name,
		Comparer:        own,
		Applier:         own,
		Namespace:       cfg.Namespace,
		Root:            cfg.Root,
		State:           cfg.State,
		UUID:            h.uuid,
		GarbageCollect:  h.collect,
		Sync:            func(context.Context) error { return nil },
	}
}

// ensureNamespace makes the namespace if it is missing. Only a new one gets a default snapshotter: others have users.
func (h *Host) ensureNamespace(ctx context.Context, snapshotterName string) (created bool, err error) {
	labels := map[string]string{}
	if snapshotterName == proxy.SnapshotterName {
		labels[defaultSnapshotterLabel] = snapshotterName
	}
	// Up to 1.7 the event of it needs a namespace, though the call is about one.
	err = h.host.Namespaces.Create(namespaces.WithNamespace(ctx, h.host.Namespace), h.host.Namespace, labels)
	if errdefs.IsAlreadyExists(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make namespace %s: %w", h.host.Namespace, err)
	}
	return true, nil
}

// serveOffer serves kiln's parts where the containerd looks for them. If another process does, the containerd's
// snapshotter is used as any foreign one is.
func (h *Host) serveOffer(ctx context.Context, chosen choice) error {
	if chosen.name != proxy.SnapshotterName || chosen.address == "" {
		return nil
	}
	backend, err := snapshotter.New(ctx, filepath.Join(h.host.Root, "snapshots"), snapshotter.Config{})
	if err != nil {
		return fmt.Errorf("open snapshotter: %w", err)
	}
	h.backend = backend
	h.offer, err = proxy.Serve(ctx, chosen.address, proxy.Offer{
		Snapshotter: backend, Comparer: h.host.Comparer, Applier: h.host.Applier, Leases: h.host.Leases,
	})
	if errdefs.IsUnavailable(err) {
		log.G(ctx).WithError(err).Warn("containerd's snapshotter kiln belongs to another process")
		return nil
	}
	if err != nil {
		return err
	}
	h.host.Backend = backend
	h.conn.absent.offer = chosen.address
	h.awaitCaller(ctx)
	return nil
}

// awaitCaller waits until the containerd has found the offer. One that called before it was there has to get over its
// pause between two attempts, and meanwhile refuses everything that needs the snapshotter.
func (h *Host) awaitCaller(ctx context.Context) {
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(ctx, h.host.Namespace), callerWait)
	defer cancel()
	// Only what makes a snapshot reaches the snapshotter behind containerd's own records.
	key := "offer-" + rand.Text()
	_, err := h.host.Snapshotter.View(ctx, key, "")
	for errdefs.IsUnavailable(err) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(callerPause):
			_, err = h.host.Snapshotter.View(ctx, key, "")
		}
	}
	if err == nil {
		err = h.host.Snapshotter.Remove(ctx, key)
	}
	if err != nil {
		log.G(ctx).WithError(err).Warn("containerd does not reach its snapshotter kiln")
	}
}

// uuid asks each time: a containerd whose state was thrown away comes back as another one.
func (h *Host) uuid(ctx context.Context) (string, error) {
	info, err := introspectionproxy.NewIntrospectionProxy(h.info).Server(ctx)
	if err != nil {
		return "", fmt.Errorf("read containerd identity: %w", err)
	}
	return info.UUID, nil
}

// collect makes the containerd collect: it has no call for that, but deleting a lease can be asked to wait for it.
func (h *Host) collect(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, h.host.Namespace)
	l, err := h.host.Leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Minute))
	if err != nil {
		return fmt.Errorf("make lease to collect by: %w", err)
	}
	if err := h.host.Leases.Delete(ctx, l, leases.SynchronousDelete); err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	return nil
}

// Host returns the services as a builder wants them. They end with Close.
func (h *Host) Host() plugin.Host { return h.host }

// Close stops serving the offer, waiting for running calls until ctx ends, and closes what is open.
func (h *Host) Close(ctx context.Context) error {
	var errs []error
	if h.offer != nil {
		h.offer.Close(ctx)
	}
	if h.backend != nil {
		errs = append(errs, h.backend.Close())
	}
	if h.conn != nil {
		errs = append(errs, h.conn.Close())
	}
	if h.lock != nil {
		errs = append(errs, h.lock.Close())
	}
	return errors.Join(errs...)
}
