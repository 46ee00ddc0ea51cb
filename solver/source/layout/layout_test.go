package layout

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	metadb "github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/differ/layerindex"
	"github.com/kilnbuild/kiln/snapshotter"
	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/image"
)

// oneListener accepts one connection.
type oneListener struct {
	once sync.Once
	conn net.Conn
	done chan struct{}
}

func (l *oneListener) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneListener) Close() error   { close(l.done); return nil }
func (l *oneListener) Addr() net.Addr { return l.conn.LocalAddr() }

// client offers a layout directory under a name; the content service is
// containerd's own.
func client(t *testing.T, m *session.Manager, id, store, dir string) {
	t.Helper()
	blobs, err := local.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	check := func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get(headerStore); len(got) != 1 || got[0] != prefixStore+store {
			return errdefs.ErrNotFound.WithMessage("no store " + strings.Join(got, ","))
		}
		return nil
	}
	srv := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := check(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(s any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := check(ss.Context()); err != nil {
				return err
			}
			return next(s, ss)
		}))
	contentapi.RegisterContentServer(srv, contentserver.New(blobs))
	here, there := net.Pipe()
	go srv.Serve(&oneListener{conn: there, done: make(chan struct{})})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Serve(ctx, here, session.Options{ID: id}) }()
	t.Cleanup(func() { cancel(); <-ended; srv.Stop() })
	if _, err := m.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// put writes a blob into a layout.
func put(t *testing.T, dir string, b []byte) ocispecs.Descriptor {
	t.Helper()
	d := digest.FromBytes(b)
	file := filepath.Join(dir, "blobs", "sha256", d.Encoded())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: d, Size: int64(len(b))}
}

func TestOpen(t *testing.T) {
	s := New(image.Config{}, session.NewManager())
	d := digest.FromString("x").String()
	for _, tc := range []struct{ ref, attr, value, want string }{
		{"name", "", "", "must have digest"},
		{"name:tag", "", "", "must have digest"},
		{"name@sha256:12", "", "", "sha256:12"},
		{"", "", "", "layout reference"},
		{"name@" + d, attrLimit, "-1", attrLimit},
	} {
		_, err := s.Open(t.Context(), source.Identifier{Ref: tc.ref, Attrs: map[string]string{tc.attr: tc.value}})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// newSource makes a source on containerd's pieces.
func newSource(t *testing.T, m *session.Manager) *Source {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	meta, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bolt.Options{NoSync: true})
	must(err)
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	must(err)
	must(os.Mkdir(filepath.Join(dir, "snapshots"), 0o700))
	sn, err := snapshotter.New(context.Background(), filepath.Join(dir, "snapshots"), snapshotter.Config{NoSyncOnCommit: true, NoMetadataSync: true})
	must(err)
	db := metadb.NewDB(meta, blobs, map[string]snapshots.Snapshotter{"kiln": sn})
	must(db.Init(t.Context()))
	leases := metadb.NewLeaseManager(db)
	a := adapter{differ.New(db.ContentStore(), differ.Config{})}
	refs, err := ref.Open(t.Context(), ref.Config{
		Root: filepath.Join(dir, "refs"), Namespace: "test", Snapshotter: db.Snapshotter("kiln"), SnapshotterName: "kiln",
		Content: db.ContentStore(), Leases: leases, Comparer: a, Applier: a, Layers: sn,
	})
	must(err)
	t.Cleanup(func() {
		if err := errors.Join(refs.Close(), sn.Close(), meta.Close()); err != nil {
			t.Error(err)
		}
	})
	return New(image.Config{Refs: refs, Content: db.ContentStore(), Leases: leases, Namespace: "test"}, m)
}

type adapter struct{ d *differ.Differ }

func (a adapter) CompareLayer(context.Context, []mount.Mount, []mount.Mount, ref.CompareOptions) (ref.Layer, *layerindex.Index, error) {
	return ref.Layer{}, nil, errors.New("nothing is compared here")
}

func (a adapter) ApplyLayer(ctx context.Context, desc ocispecs.Descriptor, mounts []mount.Mount, _ func(int64)) (digest.Digest, *layerindex.Index, error) {
	res, err := a.d.ApplyLayer(ctx, desc, mounts)
	return res.Descriptor.Digest, res.Index, err
}

// env is a build with sessions.
type env []string

func (e env) Sessions() []string { return e }
func (env) Emit(solver.Event)    {}

// writeLayout writes an image of one file and returns the digest of its
// manifest.
func writeLayout(t *testing.T, dir, body string) digest.Digest {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer := put(t, dir, b.Bytes())
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	config := put(t, dir, marshal(ocispecs.Image{Platform: platforms.DefaultSpec(),
		RootFS: ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer.Digest}}}))
	config.MediaType = ocispecs.MediaTypeImageConfig
	return put(t, dir, marshal(ocispecs.Manifest{Config: config, Layers: []ocispecs.Descriptor{layer}})).Digest
}

func TestPull(t *testing.T) {
	m := session.NewManager()
	dir, empty := t.TempDir(), t.TempDir()
	body := strings.Repeat("of the client ", 200000)
	d := writeLayout(t, dir, body)
	client(t, m, "with", "base", dir)
	client(t, m, "without", "other", empty)
	s := newSource(t, m)
	id := source.Identifier{Scheme: "oci-layout", Ref: "base@" + d.String()}

	meta, err := s.Resolve(t.Context(), env{"without", "with"}, id, source.ResolveOptions{})
	if err != nil || meta.Image.Digest != d || !strings.Contains(string(meta.Image.Config), "rootfs") {
		t.Fatalf("%+v, %v", meta, err)
	}
	in, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := in.Key(t.Context(), env{"without", "with"}); err != nil || k.Content == "" || k.Definition == "" {
		t.Fatalf("%+v, %v", k, err)
	}
	r, err := in.Fetch(t.Context(), env{"without", "with"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.ReadFile(t.Context(), "file", 0, 0); err != nil || string(got) != body {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := r.Release(t.Context()); err != nil {
		t.Error(err)
	}
	missing := source.Identifier{Ref: "base@" + digest.FromString("gone").String()}
	for _, tc := range []struct {
		attrs map[string]string
		ids   env
		want  string
	}{
		{nil, env{"with"}, "not found"},
		{map[string]string{attrStore: "odd"}, env{"with"}, "no store oci:odd"},
		{map[string]string{attrSession: "without", attrStore: "other"}, env{"with"}, "not found"},
		{nil, env{}, "no active sessions"},
	} {
		missing.Attrs = tc.attrs
		if _, err := s.Resolve(t.Context(), tc.ids, missing, source.ResolveOptions{}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
