package proxy_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/diff"
	diffproxy "github.com/containerd/containerd/v2/core/diff/proxy"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kilnbuild/kiln/plugin/proxy"
	"github.com/kilnbuild/kiln/snapshotter"
)

// manager is a lease manager that only makes leases.
type manager struct {
	leases.Manager
	made int
}

// Create implements leases.Manager.
func (m *manager) Create(_ context.Context, opts ...leases.Opt) (leases.Lease, error) {
	m.made++
	l := leases.Lease{}
	for _, opt := range opts {
		if err := opt(&l); err != nil {
			return l, err
		}
	}
	return l, nil
}

// comparer remembers in what context it was called.
type comparer struct{ namespace, lease string }

// Compare implements diff.Comparer.
func (c *comparer) Compare(ctx context.Context, _, _ []mount.Mount, _ ...diff.Opt) (ocispec.Descriptor, error) {
	c.namespace, _ = namespaces.Namespace(ctx)
	c.lease, _ = leases.FromContext(ctx)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer}, nil
}

// offered is an offer on a socket, with a connection to it.
type offered struct {
	path   string
	conn   *grpc.ClientConn
	leases manager
	differ comparer
}

// shortDir is a directory whose name leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kiln-proxy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func serve(t *testing.T) *offered {
	t.Helper()
	dir := shortDir(t)
	o := &offered{path: filepath.Join(dir, "run", "p.sock")}
	sn, err := snapshotter.New(t.Context(), filepath.Join(dir, "snapshots"), snapshotter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sn.Close() })
	s, err := proxy.Serve(t.Context(), o.path, proxy.Offer{Snapshotter: sn, Comparer: &o.differ, Leases: &o.leases})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	if o.conn, err = grpc.NewClient("unix://"+o.path, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.conn.Close() })
	return o
}

// TestSnapshots shows a snapshotter through the socket, errors with their kinds.
func TestSnapshots(t *testing.T) {
	o := serve(t)
	ctx := namespaces.WithNamespace(t.Context(), "ns")
	sn := snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(o.conn), proxy.SnapshotterName)
	if _, err := sn.Prepare(ctx, "a", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := sn.Prepare(ctx, "a", ""); !errdefs.IsAlreadyExists(err) {
		t.Errorf("second Prepare: %v, want AlreadyExists", err)
	}
	if err := sn.Commit(ctx, "b", "a"); err != nil {
		t.Fatal(err)
	}
	// The way merges go: spans travel as labels.
	if _, err := sn.Prepare(ctx, "m", "", snapshotter.WithSpans(snapshotter.Span{Upper: "b"})); err != nil {
		t.Fatal(err)
	}
	if info, err := sn.Stat(ctx, "b"); err != nil || info.Kind != snapshots.KindCommitted {
		t.Errorf("snapshot is %v (%v)", info, err)
	}
	if _, err := sn.Stat(ctx, "absent"); !errdefs.IsNotFound(err) {
		t.Errorf("Stat: %v, want NotFound", err)
	}
}

// TestComparedLayersAreLeased shows that a layer is held by the caller's lease,
// or by one that expires if the caller's got lost.
func TestComparedLayersAreLeased(t *testing.T) {
	o := serve(t)
	d := diffproxy.NewDiffApplier(diffapi.NewDiffClient(o.conn)).(diff.Comparer)
	ctx := namespaces.WithNamespace(t.Context(), "ns")
	if _, err := d.Compare(leases.WithLease(ctx, "mine"), nil, nil); err != nil {
		t.Fatal(err)
	}
	if o.differ.namespace != "ns" || o.differ.lease != "mine" || o.leases.made != 0 {
		t.Errorf("namespace %q, lease %q, %d leases made", o.differ.namespace, o.differ.lease, o.leases.made)
	}
	if _, err := d.Compare(ctx, nil, nil); err != nil {
		t.Fatal(err)
	}
	if o.differ.lease == "" || o.differ.lease == "mine" || o.leases.made != 1 {
		t.Errorf("lease %q, %d leases made", o.differ.lease, o.leases.made)
	}
}

// TestSocket shows that the socket is private, that a dead one is taken over
// and a live one is not.
func TestSocket(t *testing.T) {
	o := serve(t)
	st, err := os.Stat(o.path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket is %v (%v)", st.Mode(), err)
	}
	if _, err := proxy.Serve(t.Context(), o.path, proxy.Offer{}); !errdefs.IsUnavailable(err) {
		t.Errorf("second server: %v, want Unavailable", err)
	}

	stale := filepath.Join(filepath.Dir(o.path), "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	s, err := proxy.Serve(t.Context(), stale, proxy.Offer{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close(t.Context())
}
