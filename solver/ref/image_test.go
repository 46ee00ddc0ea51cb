package ref

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/solver"
)

// registry serves blobs by digest.
type registry struct {
	store content.Store
	blobs map[digest.Digest][]byte

	mu      sync.Mutex
	fetched map[digest.Digest]int
	// hook, optional, is called before each fetch.
	hook func(ctx context.Context) error
}

func (g *registry) Fetch(ctx context.Context, desc ocispecs.Descriptor) error {
	g.mu.Lock()
	g.fetched[desc.Digest]++
	hook := g.hook
	g.mu.Unlock()
	if hook != nil {
		if err := hook(ctx); err != nil {
			return err
		}
	}
	data, ok := g.blobs[desc.Digest]
	if !ok {
		return errdefs.ErrNotFound
	}
	return content.WriteBlob(ctx, g.store, "layer-"+desc.Digest.String(), bytes.NewReader(data), desc)
}

func (g *registry) total() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, c := range g.fetched {
		n += c
	}
	return n
}

// push takes the blobs of layers out of the store.
func (f *fixture) push(layers []Layer) *registry {
	f.t.Helper()
	g := &registry{store: f.cfg.Content, blobs: map[digest.Digest][]byte{}, fetched: map[digest.Digest]int{}}
	for _, l := range layers {
		ra, err := f.cfg.Content.ReaderAt(f.ctx(f.t.Context()), l.Descriptor)
		if err != nil {
			f.t.Fatal(err)
		}
		data, err := io.ReadAll(content.NewReader(ra))
		if err := errors.Join(err, ra.Close()); err != nil {
			f.t.Fatal(err)
		}
		g.blobs[l.Descriptor.Digest] = data
	}
	return g
}

// image makes an image of three layers that only the registry has.
func (f *fixture) image() ([]Layer, *registry, files) {
	f.t.Helper()
	r := f.layered(files{"a": "1", "b/c": "2", "b/d": "->c", "e": "3"}, 3)
	want := f.files(r)
	layers, err := r.Layers(f.t.Context(), LayerOptions{}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	g := f.push(layers)
	f.release(r)
	if l := f.left(); l != (left{}) {
		f.t.Fatalf("left behind: %+v", l)
	}
	return layers, g, want
}

// env collects events.
type env struct {
	mu     sync.Mutex
	events []solver.StatusEvent
}

func (e *env) Sessions() []string { return nil }

func (e *env) Emit(ev solver.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, *ev.Status)
}

func TestFromLayers(t *testing.T) {
	hosts(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		layers, g, want := f.image()
		var e env
		r, err := f.FromLayers(ctx, layers, g, &e, WithDescription("pulled"))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.files(r); !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if g.total() != len(layers) {
			t.Errorf("fetched %v", g.fetched)
		}
		ended := map[string]bool{}
		for _, s := range e.events {
			if s.Completed != nil {
				ended[s.ID] = true
			}
		}
		for _, l := range layers {
			if d := l.Descriptor.Digest.String(); !ended[d] || !ended["extracting "+d] {
				t.Errorf("no progress of %s: %v", d, ended)
			}
		}
		// The blobs are passed on as they came, with no work.
		again, err := r.Layers(ctx, LayerOptions{Compression: Zstd}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range again {
			if l.Descriptor.Digest != layers[i].Descriptor.Digest || l.DiffID != layers[i].DiffID {
				t.Errorf("layer %d changed: %+v", i, l)
			}
		}
		// An image that shares two layers fetches nothing; so does a restart.
		part, err := f.FromLayers(ctx, layers[:2], nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if part.ID() != r.Chain()[1].ID() {
			t.Error("layers are not shared")
		}
		f.keep(r)
		f.release(r, part)
		f.reopen()
		f.left()
		r, err = f.FromLayers(ctx, layers, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.files(r); !maps.Equal(got, want) {
			t.Errorf("after restart: got %v, want %v", got, want)
		}
		f.release(r)
		if err := f.Prune(ctx, PruneOptions{All: true}, nil); err != nil {
			t.Fatal(err)
		}
		if l := f.left(); l != (left{}) {
			t.Errorf("left behind: %+v", l)
		}
	})
}

// TestFromLayersOwnBlobs has two images with the same layers, the lowest packed
// in another way: each is passed on as it came, and they share snapshots.
func TestFromLayersOwnBlobs(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := t.Context()
	whole := f.layered(files{"a": "1", "b": "2"}, 2)
	one, err := whole.Layers(ctx, LayerOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	zstd, err := whole.Layers(ctx, LayerOptions{Compression: Zstd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	two := []Layer{zstd[0], one[1]}
	g := f.push(append(slices.Clone(one), two...))
	f.release(whole)
	f.left()
	var held []*Ref
	for range 2 {
		for _, want := range [][]Layer{one, two} {
			r, err := f.FromLayers(ctx, want, g, nil)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, r)
			got, err := r.Layers(ctx, LayerOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range got {
				if l.Descriptor.Digest != want[i].Descriptor.Digest {
					t.Errorf("layer %d is %s, want %s", i, l.Descriptor.Digest, want[i].Descriptor.Digest)
				}
			}
		}
	}
	if held[0].ID() != held[2].ID() || held[1].ID() != held[3].ID() {
		t.Error("the same image is another ref each time")
	}
	if held[0].Info().Snapshot != held[1].Info().Snapshot {
		t.Error("snapshots are not shared")
	}
	f.release(held...)
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
}

func TestFromLayersAdopts(t *testing.T) {
	f := newFixture(t, hostOptions{})
	ctx := f.ctx(t.Context())
	layers, g, want := f.image()
	r, err := f.FromLayers(ctx, layers, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Another client of containerd uses the snapshot and so keeps it.
	info, err := f.cfg.Snapshotter.Stat(ctx, r.Info().Snapshot)
	if err != nil {
		t.Fatal(err)
	}
	info.Labels = map[string]string{"containerd.io/gc.root": "x"}
	if _, err := f.cfg.Snapshotter.Update(ctx, info, "labels"); err != nil {
		t.Fatal(err)
	}
	f.release(r)
	if l := f.left(); l.snapshots != 3 || l.leases != 0 {
		t.Fatalf("left: %+v", l)
	}
	r, err = f.FromLayers(ctx, layers, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.files(r); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := r.ContentDigest(ctx, "/", ContentOptions{}); err != nil {
		t.Error(err)
	}
	f.release(r)
}

func TestFromLayersShared(t *testing.T) {
	f := newFixture(t, hostOptions{})
	layers, g, want := f.image()
	var eg errgroup.Group
	refs := make([]*Ref, 12)
	for i := range refs {
		eg.Go(func() (err error) {
			refs[i], err = f.FromLayers(t.Context(), layers[:1+i%3], g, nil)
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	if g.total() != len(layers) {
		t.Errorf("fetched %v", g.fetched)
	}
	if got := f.files(refs[2]); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f.release(refs...)
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
}

// TestFromLayersFailures lets clients go away in the middle: nobody else's
// call fails for it, and nothing stays.
func TestFromLayersFailures(t *testing.T) {
	f := newFixture(t, hostOptions{})
	layers, g, want := f.image()
	first := make(chan struct{}, 16)
	g.hook = func(ctx context.Context) error {
		first <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var eg errgroup.Group
	eg.Go(func() error {
		_, err := f.FromLayers(ctx, layers, g, nil)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled call: %v", err)
		}
		return nil
	})
	<-first
	cancel()
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.hook = func(context.Context) error { return errors.New("registry is down") }
	g.mu.Unlock()
	if _, err := f.FromLayers(t.Context(), layers, g, nil); err == nil {
		t.Error("no error")
	}
	g.mu.Lock()
	g.hook = nil
	g.mu.Unlock()
	wrong := append([]Layer(nil), layers...)
	wrong[1].DiffID = digest.FromString("something else")
	if _, err := f.FromLayers(t.Context(), wrong, g, nil); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("wrong diff id: %v", err)
	}
	if _, err := f.FromLayers(t.Context(), []Layer{{DiffID: "x"}}, g, nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("invalid digest: %v", err)
	}
	r, err := f.FromLayers(t.Context(), layers, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.files(r); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	f.release(r)
	// What was cancelled may take a moment to clean up behind itself.
	deadline := time.Now().Add(5 * time.Second)
	for f.left() != (left{}) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if l := f.left(); l != (left{}) {
		t.Errorf("left behind: %+v", l)
	}
}

// TestEpochOfLayers: layers made here tell the epoch that bounds their times,
// others have none.
func TestEpochOfLayers(t *testing.T) {
	f := newFixture(t, hostOptions{})
	r := f.layer(nil, files{"a": "1"})
	defer f.release(r)
	epoch := time.Unix(7, 0)
	for want, opt := range map[string]LayerOptions{"7": {Epoch: &epoch}, "": {}} {
		layers, err := r.Layers(t.Context(), opt, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := layers[0].Descriptor.Annotations[AnnotationEpoch]; got != want {
			t.Errorf("epoch %q, want %q", got, want)
		}
	}
}

func TestLayersMadeOnce(t *testing.T) {
	count := &countingComparer{}
	f := newFixture(t, hostOptions{}, func(c *Config) {
		count.LayerComparer = c.Comparer
		c.Comparer = count
	})
	r := f.layered(files{"a": "1", "b": "2", "c": "3"}, 3)
	var eg errgroup.Group
	got := make([][]Layer, 8)
	for i := range got {
		eg.Go(func() (err error) {
			got[i], err = r.Layers(t.Context(), LayerOptions{Compression: []string{Gzip, Zstd}[i%2]}, nil)
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		t.Fatal(err)
	}
	if count.n != 6 {
		t.Errorf("%d comparisons, want 6", count.n)
	}
	for i := range got[0] {
		if got[0][i].DiffID != got[1][i].DiffID || got[0][i].Descriptor.Digest == got[1][i].Descriptor.Digest {
			t.Errorf("layer %d: %+v and %+v", i, got[0][i], got[1][i])
		}
	}
	f.keep(r)
	id := r.ID()
	f.release(r)
	f.reopen()
	f.left()
	r, err := f.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	level := 9
	if _, err := r.Layers(t.Context(), LayerOptions{}, nil); err != nil || count.n != 6 {
		t.Errorf("after restart: %d comparisons, %v", count.n, err)
	}
	if _, err := r.Layers(t.Context(), LayerOptions{Level: &level}, nil); err != nil || count.n != 9 {
		t.Errorf("another level: %d comparisons, %v", count.n, err)
	}
	f.release(r)
}

// countingComparer counts comparisons.
type countingComparer struct {
	LayerComparer
	mu sync.Mutex
	n  int
}

func (c *countingComparer) CompareLayer(ctx context.Context, lower, upper []mount.Mount, opt CompareOptions) (Layer, *layerindex.Index, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.LayerComparer.CompareLayer(ctx, lower, upper, opt)
}
