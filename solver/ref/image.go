package ref

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/solver"
)

const (
	// maxFetches is how many layers a Store fetches at once.
	maxFetches = 4
	// maxLayers bounds the layers of an image; overlay stacks 500.
	maxLayers = 500
	// pollFetch is how often the progress of a fetch is looked at.
	pollFetch = 150 * time.Millisecond
)

// image is one call of FromLayers.
type image struct {
	s      *Store
	layers []Layer
	chains []digest.Digest
	from   LayerProvider
	env    solver.Env
	opts   []Option
}

// FromLayers returns the file system of an image's layers, base first; nil for
// none. Each layer becomes a ref named after its chain ID, with a snapshot
// named as containerd names it, so images share layers with each other and
// with what containerd unpacked. Of images that have the same layers in other
// blobs, each keeps its own: they share snapshots only. Blobs are fetched in parallel with each other
// and with the unpacking of those below; what is there already is not fetched.
// Concurrent calls share the work. A layer that is not what its DiffID says is
// an error of kind FailedPrecondition.
func (s *Store) FromLayers(ctx context.Context, layers []Layer, p LayerProvider, env solver.Env, opts ...Option) (*Ref, error) {
	if len(layers) == 0 {
		return nil, nil
	}
	if len(layers) > maxLayers {
		return nil, fmt.Errorf("image has %d layers, at most %d: %w", len(layers), maxLayers, errdefs.ErrInvalidArgument)
	}
	diffIDs := make([]digest.Digest, len(layers))
	for i, l := range layers {
		for _, d := range []digest.Digest{l.Descriptor.Digest, l.DiffID} {
			if err := d.Validate(); err != nil {
				return nil, fmt.Errorf("layer %d: digest %q: %w: %w", i, d, err, errdefs.ErrInvalidArgument)
			}
		}
		diffIDs[i] = l.DiffID
	}
	im := &image{s: s, layers: layers, chains: identity.ChainIDs(diffIDs), from: p, env: env, opts: opts}
	e, err := im.layer(ctx, len(layers)-1)
	if err != nil {
		return nil, err
	}
	s.used.touch(e.id, true)
	r := newRef(e)
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if o.keep {
		if err := s.Keep(ctx, r); err != nil {
			return nil, withCleanup(err, r.Release(ctx))
		}
	}
	return r, nil
}

// layer returns the entry of layer i, and with it of all below, with one hold
// for the caller. Waits go from a layer to the one below only.
func (im *image) layer(ctx context.Context, i int) (*entry, error) {
	e, err := im.layerAs(ctx, i, im.chains[i].Encoded())
	if err != nil {
		return nil, err
	}
	if im.same(e, i) {
		if err := im.addURLs(e, i); err != nil {
			im.s.release(context.WithoutCancel(ctx), e)
			return nil, err
		}
		return e, nil
	}
	im.s.release(context.WithoutCancel(ctx), e)
	return im.layerAs(ctx, i, im.otherID(i))
}

// layerAs returns the entry of layer i under that name, which may be made of
// the blobs of another image.
func (im *image) layerAs(ctx context.Context, i int, id string) (*entry, error) {
	s := im.s
	e, err := s.hold(ctx, id)
	if err == nil || !errdefs.IsNotFound(err) {
		return e, err
	}
	v, err := s.flights.do(ctx, "layer "+id, work{
		run: func(ctx context.Context) (any, error) { return im.make(ctx, i, id) },
		join: func(v any) {
			s.mu.Lock()
			defer s.mu.Unlock()
			v.(*entry).holds++
		},
		drop: func(v any) { s.release(context.WithoutCancel(ctx), v.(*entry)) },
	})
	if err != nil {
		return nil, err
	}
	return v.(*entry), nil
}

// same reports whether the ref of layer i is made of the image's own blobs.
func (im *image) same(e *entry, i int) bool {
	for ; i >= 0; i-- {
		b, ok := e.blob(originalVariant)
		if ok && b.Descriptor.Digest != im.layers[i].Descriptor.Digest {
			return false
		}
		if len(e.parents) == 0 {
			break
		}
		e = e.parents[0]
	}
	return true
}

// addURLs notes where else the layers up to i can be had, as this image or one
// before says, if the one that they came with first did not: such layers may be
// left where they are.
func (im *image) addURLs(e *entry, i int) error {
	for ; i >= 0; i-- {
		b, ok := e.blob(originalVariant)
		urls := im.layers[i].Descriptor.URLs
		if len(urls) == 0 {
			urls = im.s.addresses.of(im.layers[i].Descriptor.Digest)
		}
		if ok && len(urls) > 0 && len(b.Descriptor.URLs) == 0 {
			b.Descriptor.URLs = urls
			if err := e.setBlob(originalVariant, b); err != nil {
				return err
			}
		}
		if len(e.parents) == 0 {
			break
		}
		e = e.parents[0]
	}
	return nil
}

// otherID names layer i by the blobs of the image, for when its name is taken
// by another image with the same content.
func (im *image) otherID(i int) string {
	h := digest.Canonical.Digester()
	fmt.Fprintln(h.Hash(), im.chains[i])
	for _, l := range im.layers[:i+1] {
		fmt.Fprintln(h.Hash(), l.Descriptor.Digest)
	}
	return h.Digest().Encoded()
}

// make makes layer i: fetches it while those below are being made, and unpacks
// it on top of them.
func (im *image) make(ctx context.Context, i int, id string) (_ *entry, err error) {
	s, chain := im.s, im.chains[i]
	rec := s.newRecord(kindLayer, im.opts)
	rec.Kept = false
	rec.ID = id
	// The id may come again after the ref was removed, the lease must not.
	rec.Lease = leasePrefix + rec.ID + "-" + s.unique()
	rec.Snapshot = chain.String()
	rec.DiffID = im.layers[i].DiffID
	if d := im.layers[i].Description; d != "" && rec.Description == "" {
		rec.Description = d
	}
	if t := im.layers[i].CreatedAt; t != nil {
		rec.CreatedAt = t.UTC()
	}
	if err := s.createLease(ctx, rec.Lease); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = withCleanup(err, s.deleteLease(context.WithoutCancel(ctx), rec.Lease))
		}
	}()

	var parent *entry
	eg, ectx := errgroup.WithContext(ctx)
	if i > 0 {
		eg.Go(func() (err error) {
			parent, err = im.layer(ectx, i-1)
			return err
		})
	}
	eg.Go(func() error { return im.fetch(ectx, i, rec.Lease) })
	err = eg.Wait()
	if parent != nil {
		defer s.release(context.WithoutCancel(ctx), parent)
	}
	if err != nil {
		return nil, err
	}
	rec.Blobs = map[string]blobRecord{originalVariant: {Descriptor: im.layers[i].Descriptor, DiffID: rec.DiffID, Original: true}}
	idx, err := im.unpackSound(ctx, i, &rec, parent)
	if err != nil {
		return nil, fmt.Errorf("unpack layer %s: %w", im.layers[i].Descriptor.Digest, err)
	}
	return im.enter(ctx, rec, parent, idx)
}

// enter makes the layer known, unless a call that was given up has done so in
// the meantime.
func (im *image) enter(ctx context.Context, rec record, parent *entry, idx *layerindex.Index) (*entry, error) {
	s := im.s
	e := s.newEntry(rec)
	if parent != nil {
		e.parents = []*entry{parent}
		e.rec.Parents = []string{parent.id}
	}
	if idx != nil {
		s.putIndex(ctx, e, idx)
	}
	s.mu.Lock()
	other := s.entries[e.id]
	if other != nil {
		other.holds++
	} else {
		e.link()
		s.entries[e.id] = e
	}
	s.mu.Unlock()
	if other == nil {
		return e, nil
	}
	s.indexes.forget(e.lease)
	s.removeIndexFile(e.lease)
	if err := s.deleteLease(context.WithoutCancel(ctx), e.lease); err != nil {
		s.release(ctx, other)
		return nil, err
	}
	return other, nil
}

// fetch sees to it that blob i is there and owned by the lease.
func (im *image) fetch(ctx context.Context, i int, lease string) error {
	s, desc := im.s, im.layers[i].Descriptor
	own := func() error {
		res := leases.Resource{ID: desc.Digest.String(), Type: "content"}
		if err := s.cfg.Leases.AddResource(s.ctx(ctx), leases.Lease{ID: lease}, res); err != nil {
			return fmt.Errorf("own blob %s: %w", desc.Digest, err)
		}
		// Owned before it was looked for, so it cannot go in between.
		_, err := s.cfg.Content.Info(s.ctx(ctx), desc.Digest)
		return err
	}
	err := own()
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	if im.from == nil {
		return fmt.Errorf("fetch layer %s: %w", desc.Digest, err)
	}
	select {
	case s.fetches <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.fetches }()
	done := im.reportFetch(ctx, i)
	err = im.from.Fetch(s.leased(ctx, lease), desc)
	done(err)
	if err == nil {
		// A provider that found the blob in the store may not have owned it.
		err = own()
	}
	if err != nil {
		return fmt.Errorf("fetch layer %s: %w", desc.Digest, err)
	}
	return nil
}

// unpack makes the snapshot of layer i, if containerd does not have it yet,
// owned by the lease of rec. The index is nil in that case.
func (im *image) unpack(ctx context.Context, i int, rec *record, parent *entry) (*layerindex.Index, error) {
	s, layer := im.s, im.layers[i]
	lctx := s.leased(ctx, rec.Lease)
	if s.adopt(ctx, rec) {
		return nil, nil
	}
	parentKey := ""
	if parent != nil {
		parentKey = parent.snapshot()
	}
	key := activePrefix + rec.Lease
	mounts, err := s.cfg.Snapshotter.Prepare(lctx, key, parentKey, s.cfg.LayerOpts...)
	if err != nil {
		return nil, err
	}
	idx, err := im.apply(lctx, layer, mounts)
	if err == nil {
		err = s.cfg.Snapshotter.Commit(lctx, rec.Snapshot, key)
	}
	if err == nil {
		return idx, nil
	}
	rerr := s.cfg.Snapshotter.Remove(s.leased(context.WithoutCancel(ctx), rec.Lease), key)
	if errdefs.IsAlreadyExists(err) {
		// Somebody else unpacked it too; containerd made it ours as well.
		return nil, rerr
	}
	return nil, withCleanup(err, rerr)
}

// apply unpacks one layer and checks what came out.
func (im *image) apply(ctx context.Context, layer Layer, mounts []mount.Mount) (*layerindex.Index, error) {
	started := im.s.cfg.Now()
	status := solver.StatusEvent{ID: "extracting " + layer.Descriptor.Digest.String(), Timestamp: started, Started: &started}
	im.emit(status)
	diffID, idx, err := im.s.cfg.Applier.ApplyLayer(ctx, layer.Descriptor, mounts, nil)
	completed := im.s.cfg.Now()
	status.Timestamp, status.Completed = completed, &completed
	im.emit(status)
	if err != nil {
		return nil, err
	}
	if diffID != layer.DiffID {
		return nil, fmt.Errorf("content is %s, the image says %s: %w", diffID, layer.DiffID, errdefs.ErrFailedPrecondition)
	}
	return idx, nil
}

// adopt reports whether containerd has the snapshot already; then it is owned
// by the lease of rec.
func (s *Store) adopt(ctx context.Context, rec *record) bool {
	if _, err := s.cfg.Snapshotter.Stat(s.ctx(ctx), rec.Snapshot); err != nil {
		return false
	}
	res := leases.Resource{ID: rec.Snapshot, Type: "snapshots/" + s.cfg.SnapshotterName}
	if err := s.cfg.Leases.AddResource(s.ctx(ctx), leases.Lease{ID: rec.Lease}, res); err != nil {
		return false
	}
	// The collector may have been faster before.
	_, err := s.cfg.Snapshotter.Stat(s.ctx(ctx), rec.Snapshot)
	return err == nil
}

// reportFetch emits the progress of a fetch until the returned function is
// called with its outcome. Any ingest of the digest counts, whoever names it.
func (im *image) reportFetch(ctx context.Context, i int) func(error) {
	if im.env == nil {
		return func(error) {}
	}
	s, desc := im.s, im.layers[i].Descriptor
	started := s.cfg.Now()
	status := solver.StatusEvent{ID: desc.Digest.String(), Name: "downloading", Total: desc.Size, Timestamp: started, Started: &started}
	im.emit(status)
	ctx, cancel := context.WithCancel(s.ctx(ctx))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(pollFetch)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			statuses, err := s.cfg.Content.ListStatuses(ctx)
			if err != nil {
				continue
			}
			for _, st := range statuses {
				if st.Expected == desc.Digest {
					status.Current, status.Timestamp = st.Offset, s.cfg.Now()
					im.emit(status)
				}
			}
		}
	}()
	return func(err error) {
		cancel()
		<-stopped
		completed := s.cfg.Now()
		status.Timestamp, status.Completed = completed, &completed
		if err == nil {
			status.Name, status.Current = "done", desc.Size
		}
		im.emit(status)
	}
}

func (im *image) emit(status solver.StatusEvent) {
	if im.env != nil {
		im.env.Emit(solver.Event{Status: &status})
	}
}

// withCleanup adds what went wrong while cleaning up after err.
func withCleanup(err, cleanup error) error {
	if cleanup == nil {
		return err
	}
	return fmt.Errorf("%w (and cleaning up: %w)", err, cleanup)
}
