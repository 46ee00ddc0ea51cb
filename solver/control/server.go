package control

import (
	"context"
	"fmt"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
)

// MaxMessage bounds messages in both directions, in bytes.
const MaxMessage = 16 << 20

// headerTime tells clients the daemon's clock, at the start of streams.
const headerTime = "buildkit-current-timestamp"

// Version is what Info and workers say of the daemon.
type Version struct {
	Package, Version, Revision, Dockerfile string
}

// GCPolicy is one rule of garbage collection, as shown to clients.
type GCPolicy struct {
	All          bool
	Filters      []string
	KeepDuration time.Duration
	// ReservedSpace, MaxUsedSpace and MinFreeSpace in bytes.
	ReservedSpace, MaxUsedSpace, MinFreeSpace int64
}

// Config is what the services need.
type Config struct {
	Builder  *build.Builder
	Sessions *session.Manager
	Refs     *ref.Store
	// History keeps records of builds; required.
	History History
	// Content serves blobs read-only; may be nil.
	Content contentapi.ContentServer
	// Traces receives clients' spans; may be nil: they are dropped.
	Traces  collector.TraceServiceServer
	Version Version
	// GCPolicies returns what is shown in worker records; nil is none.
	GCPolicies func() []GCPolicy
	// Pruned is told after a prune, so that the cache forgets what is gone
	// and disk space is freed; everything says that the client left nothing
	// out. May be nil.
	Pruned func(ctx context.Context, everything bool) error
}

// History keeps records of builds and tells of changes.
type History interface {
	// Listen calls emit with records and changes, as the request asks.
	Listen(ctx context.Context, req *control.BuildHistoryRequest, emit func(*control.BuildHistoryEvent) error) error
	// Update pins, deletes or finalizes a record.
	Update(ctx context.Context, req *control.UpdateBuildHistoryRequest) error
	// Replay calls emit with the saved events of a build, errdefs NotFound
	// if there are none.
	Replay(ctx context.Context, ref string, emit func(*control.StatusResponse) error) error
}

// Server implements the services.
type Server struct {
	control.UnimplementedControlServer
	cfg Config
}

// New returns a Server.
func New(cfg Config) *Server { return &Server{cfg: cfg} }

// Register adds all services to r, which was made with ServerOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	s.RegisterShared(r)
	if s.cfg.Content != nil {
		contentapi.RegisterContentServer(r, readOnly{s.cfg.Content})
	}
}

// RegisterShared adds the services that containerd does not have itself, for
// hosts that serve both on one socket.
func (s *Server) RegisterShared(r grpc.ServiceRegistrar) {
	control.RegisterControlServer(r, s)
	gateway.RegisterLLBBridgeServer(r, &forwarder{builder: s.cfg.Builder})
	traces := s.cfg.Traces
	if traces == nil {
		traces = dropTraces{}
	}
	collector.RegisterTraceServiceServer(r, traces)
}

// dropTraces takes spans that nobody wants; clients send them in any case.
type dropTraces struct {
	collector.UnimplementedTraceServiceServer
}

// Export drops spans.
func (dropTraces) Export(context.Context, *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	return &collector.ExportTraceServiceResponse{}, nil
}

// sendTime tells the client the daemon's clock.
func sendTime(stream grpc.ServerStream) error {
	err := stream.SendHeader(metadata.Pairs(headerTime, time.Now().UTC().Format(time.RFC3339Nano)))
	if err != nil {
		return fmt.Errorf("send header: %w", err)
	}
	return nil
}
