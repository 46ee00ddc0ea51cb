package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/diffservice"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/plugin/unixsocket"
)

// maxMessage is containerd's own limit for a gRPC message, either way.
const maxMessage = 16 << 20

// probeWait is how long a socket that somebody may be serving gets to answer.
const probeWait = time.Second

// Offer is what is served.
type Offer struct {
	Snapshotter snapshots.Snapshotter
	Comparer    diff.Comparer
	Applier     diff.Applier
	// Leases, optional, are those of the caller's store; with them blobs that come without a lease get one.
	Leases leases.Manager
}

// Server serves one offer on one socket.
type Server struct {
	grpc *grpc.Server
	done chan struct{}
}

// Serve listens on the path. errdefs.ErrUnavailable says that another process serves there.
func Serve(ctx context.Context, path string, offer Offer) (*Server, error) {
	listener, err := listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("serve snapshotter to containerd: %w", err)
	}
	s := &Server{done: make(chan struct{}), grpc: grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(unary), grpc.StreamInterceptor(stream),
	)}
	snapshotsapi.RegisterSnapshotsServer(s.grpc, snapshotservice.FromSnapshotter(offer.Snapshotter))
	diffapi.RegisterDiffServer(s.grpc, diffservice.FromApplierAndComparer(offer.Applier, keeper{offer.Comparer, offer.Leases}))
	go func() {
		defer close(s.done)
		if err := s.grpc.Serve(listener); err != nil {
			log.G(ctx).WithError(err).Error("proxy socket failed")
		}
	}()
	return s, nil
}

// Close waits for running calls until ctx ends, then cuts them off. The socket is removed.
func (s *Server) Close(ctx context.Context) {
	defer context.AfterFunc(ctx, s.grpc.Stop)()
	s.grpc.GracefulStop()
	<-s.done
}

// listen takes a stale socket over.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	probe := net.Dialer{Timeout: probeWait}
	if conn, err := probe.DialContext(ctx, "unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("%s is served by another process: %w", path, errdefs.ErrUnavailable)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	return unixsocket.Listen(ctx, path)
}

// called copies the namespace and the lease of a call to where calls of ours, back to containerd, take them from.
func called(ctx context.Context) context.Context {
	if ns, ok := namespaces.Namespace(ctx); ok {
		ctx = namespaces.WithNamespace(ctx, ns)
	}
	if lease, ok := leases.FromContext(ctx); ok {
		ctx = leases.WithLease(ctx, lease)
	}
	return ctx
}

func unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	return handler(called(ctx), req)
}

func stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &calledStream{ServerStream: ss, ctx: called(ss.Context())})
}

// calledStream is a stream whose context has been through called.
type calledStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *calledStream) Context() context.Context { return s.ctx }

// keepFor is how long a blob that no lease of the caller holds is kept: time enough to name it.
const keepFor = time.Hour

// keeper puts blobs that no lease holds under one of its own, which expires.
type keeper struct {
	diff.Comparer
	leases leases.Manager
}

// Compare implements diff.Comparer.
func (k keeper) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...diff.Opt) (ocispecs.Descriptor, error) {
	if _, ok := leases.FromContext(ctx); !ok && k.leases != nil {
		l, err := k.leases.Create(ctx, leases.WithRandomID(), leases.WithExpiration(keepFor))
		if err != nil {
			return ocispecs.Descriptor{}, fmt.Errorf("make lease for a layer: %w", err)
		}
		ctx = leases.WithLease(ctx, l.ID)
	}
	return k.Comparer.Compare(ctx, lower, upper, opts...)
}
