package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/snapshotter"
	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// host is a containerd in the test's process with a source on it.
type host struct {
	t       testing.TB
	db      *metadata.DB
	content content.Store
	images  images.Store
	refs    *ref.Store
	source  *Source
}

// newHost starts a host; hosts of registries are reached as cfg says.
func newHost(t testing.TB, cfg registry.Config) *host {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"content", "snapshots"} {
		must(os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	meta, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	must(err)
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	must(err)
	sn, err := snapshotter.New(context.Background(), filepath.Join(dir, "snapshots"), snapshotter.Config{NoSyncOnCommit: true, NoMetadataSync: true})
	must(err)
	h := &host{t: t, db: metadata.NewDB(meta, blobs, map[string]snapshots.Snapshotter{"kiln": sn})}
	must(h.db.Init(t.Context()))
	h.content, h.images = h.db.ContentStore(), metadata.NewImageStore(h.db)
	unpacker := adapter{differ.New(h.content, differ.Config{})}
	h.refs, err = ref.Open(t.Context(), ref.Config{
		Root: filepath.Join(dir, "refs"), Namespace: "test", Snapshotter: h.db.Snapshotter("kiln"), SnapshotterName: "kiln",
		Content: h.content, Leases: metadata.NewLeaseManager(h.db), Comparer: unpacker, Applier: unpacker, Layers: sn,
		GC: func(ctx context.Context) error { _, err := h.db.GarbageCollect(ctx); return err },
	})
	must(err)
	t.Cleanup(func() {
		if err := errors.Join(h.refs.Close(), sn.Close(), meta.Close()); err != nil {
			t.Error(err)
		}
	})
	client, err := registry.New(cfg)
	must(err)
	t.Cleanup(client.Close)
	h.source = New(Config{
		Registries: client, Refs: h.refs, Content: h.content, Leases: metadata.NewLeaseManager(h.db), Namespace: "test", Images: h.images,
	})
	h.source.puller.pause = time.Millisecond
	return h
}

type adapter struct{ d *differ.Differ }

func (a adapter) CompareLayer(context.Context, []mount.Mount, []mount.Mount, ref.CompareOptions) (ref.Layer, *layerindex.Index, error) {
	return ref.Layer{}, nil, errors.New("nothing is compared here")
}

func (a adapter) ApplyLayer(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, _ func(int64)) (digest.Digest, *layerindex.Index, error) {
	res, err := a.d.ApplyLayer(ctx, desc, mounts, []diff.ApplyOpt(nil)...)
	return res.Descriptor.Digest, res.Index, err
}

func (h *host) ctx() context.Context { return namespaces.WithNamespace(h.t.Context(), "test") }

// gc removes what nothing holds.
func (h *host) gc() {
	h.t.Helper()
	if _, err := h.db.GarbageCollect(h.ctx()); err != nil {
		h.t.Fatal(err)
	}
}

// blobs counts blobs, ingests transfers under way.
func (h *host) blobs() (blobs, ingests int) {
	h.t.Helper()
	h.gc()
	if err := h.content.Walk(h.ctx(), func(content.Info) error { blobs++; return nil }); err != nil {
		h.t.Fatal(err)
	}
	st, err := h.content.ListStatuses(h.ctx())
	if err != nil {
		h.t.Fatal(err)
	}
	return blobs, len(st)
}

// noIngests waits for transfers that were given up to be gone: a call does not
// wait for work that it shared.
func (h *host) noIngests() {
	h.t.Helper()
	var ingests int
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, ingests = h.blobs(); ingests == 0 {
			return
		}
	}
	h.t.Errorf("%d ingests left", ingests)
}

// env collects events.
type env struct {
	mu     sync.Mutex
	events []solver.StatusEvent
	ids    []string
}

func (e *env) Sessions() []string { return e.ids }

func (e *env) Emit(ev solver.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, *ev.Status)
}

// open opens an image with attributes "name=value".
func (h *host) open(name string, attrs map[string]string, platform *ocispecs.Platform) source.Instance {
	h.t.Helper()
	in, err := h.source.Open(h.t.Context(), source.Identifier{Scheme: "docker-image", Ref: name, Attrs: attrs, Platform: platform})
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

// pull does what a build does.
func (h *host) pull(name string, attrs map[string]string) (source.Key, *ref.Ref, error) {
	h.t.Helper()
	in := h.open(name, attrs, nil)
	k, err := in.Key(h.t.Context(), &env{})
	if err != nil {
		return k, nil, err
	}
	r, err := in.Fetch(h.t.Context(), &env{})
	return k, r, err
}

// has fails unless the ref holds a file with a content.
func (h *host) has(r *ref.Ref, path, want string) {
	h.t.Helper()
	b, err := r.ReadFile(h.t.Context(), path, 0, 1<<10)
	if err != nil || string(b) != want {
		h.t.Errorf("%s is %q, want %q: %v", path, b, want, err)
	}
}

func (h *host) release(r *ref.Ref) {
	h.t.Helper()
	if err := r.Release(h.t.Context()); err != nil {
		h.t.Error(err)
	}
}

// layers makes an image of one file a layer.
func layers(t testing.TB, bodies ...string) fixtures.Image {
	t.Helper()
	image := fixtures.Image{Platform: fixtures.Native()}
	for i, body := range bodies {
		l, err := fixtures.NewLayer(func(add func(tar.Header, []byte) error) error {
			return add(tar.Header{Name: fmt.Sprintf("file%d", i), Mode: 0o644}, []byte(body))
		})
		if err != nil {
			t.Fatal(err)
		}
		image.Layers = append(image.Layers, l)
	}
	return image
}

// front is a server before a real registry that may answer itself.
func front(t testing.TB, s *fixtures.Server, handle func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	back, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(back)
	f := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !handle(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f.Listener.Addr().String()
}

// fake is a registry of what is in memory, for images that a real one refuses.
type fake struct {
	addr  string
	mu    sync.Mutex
	blobs map[string][]byte
	tags  map[string]ocispecs.Descriptor
}

func newFake(t testing.TB) *fake {
	f := &fake{blobs: map[string][]byte{}, tags: map[string]ocispecs.Descriptor{}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.addr = s.Listener.Addr().String()
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := filepath.Base(r.URL.Path)
	if d, ok := f.tags[name]; ok {
		w.Header().Set("Content-Type", d.MediaType)
		w.Header().Set("Docker-Content-Digest", d.Digest.String())
		name = d.Digest.String()
	}
	b, ok := f.blobs[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// add stores a document or blob.
func (f *fake) add(mediaType string, v any) ocispecs.Descriptor {
	b, ok := v.([]byte)
	if !ok {
		var err error
		if b, err = json.Marshal(v); err != nil {
			panic(err)
		}
	}
	d := digest.FromBytes(b)
	f.blobs[d.String()] = b
	return ocispecs.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}
