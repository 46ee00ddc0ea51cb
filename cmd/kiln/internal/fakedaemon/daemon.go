package fakedaemon

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/pb/diagnose"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	"github.com/kilnbuild/kiln/solver/pb/worker"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
)

// Daemon answers as its fields say. Set them before the first call.
type Daemon struct {
	control.UnimplementedControlServer
	diagnose.UnimplementedDiagnoseServer
	// Addr is what to give to --addr.
	Addr string
	// OnSolve runs a build; nil succeeds with nothing.
	OnSolve func(ctx context.Context, req *control.SolveRequest, s *session.Session) (map[string]string, error)
	// Events is what every build and every stored log says.
	Events []*control.StatusResponse
	// Answer is the metadata of what a frontend is asked through the bridge.
	Answer  map[string][]byte
	Usage   []*control.UsageRecord
	Workers []*worker.WorkerRecord
	History []*control.BuildHistoryEvent
	// Report is what the daemon tells of itself, in chunks; nil is a daemon
	// that does not.
	Report []*diagnose.Chunk

	sessions *session.Manager
	mu       sync.Mutex
	calls    []any
	returned map[string]chan struct{}
}

// Start serves on a socket of the test's own until the test ends.
func Start(t testing.TB) *Daemon {
	d := &Daemon{sessions: session.NewManager(), returned: map[string]chan struct{}{}}
	path := filepath.Join(t.TempDir(), "s")
	d.Addr = "unix://" + path
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(rpcerr.UnaryServer), grpc.StreamInterceptor(rpcerr.StreamServer))
	control.RegisterControlServer(server, d)
	gateway.RegisterLLBBridgeServer(server, &bridge{daemon: d})
	diagnose.RegisterDiagnoseServer(server, d)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return d
}

// Calls returns the requests that were made, but for Info.
func (d *Daemon) Calls() []any {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]any(nil), d.calls...)
}

// record keeps a request for Calls.
func (d *Daemon) record(req any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls = append(d.calls, req)
}

// done returns the channel that closes when a build of the client's returns.
func (d *Daemon) done(ref string) chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.returned[ref] == nil {
		d.returned[ref] = make(chan struct{})
	}
	return d.returned[ref]
}

// Info answers with a version.
func (d *Daemon) Info(context.Context, *control.InfoRequest) (*control.InfoResponse, error) {
	return &control.InfoResponse{BuildkitVersion: &worker.BuildkitVersion{
		Package: "example.com/daemon", Version: "v1.2.3", Revision: "abc", DockerfileVersion: "1.9",
	}}, nil
}

// Session serves a session.
func (d *Daemon) Session(stream control.Control_SessionServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	first := func(key string) string {
		if v := md.Get("x-docker-expose-session-" + key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	return d.sessions.Serve(stream.Context(), session.NewStreamConn(sessionStream{stream}, nil), session.Options{
		ID: first("uuid"), SharedKey: first("sharedkey"), Methods: md.Get("x-docker-expose-session-grpc-method"),
	})
}

// Solve runs OnSolve with the session of the request.
func (d *Daemon) Solve(ctx context.Context, req *control.SolveRequest) (*control.SolveResponse, error) {
	d.record(req)
	wait, cancel := context.WithTimeout(ctx, session.WaitTimeout)
	defer cancel()
	s, err := d.sessions.Get(wait, req.GetSession())
	if err != nil {
		return nil, err
	}
	if req.GetFrontend() == "" && req.GetDefinition() == nil {
		select {
		case <-d.done(req.GetRef()):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if d.OnSolve == nil {
		return &control.SolveResponse{}, nil
	}
	resp, err := d.OnSolve(ctx, req, s)
	return &control.SolveResponse{ExporterResponse: resp}, err
}

// Status sends Events.
func (d *Daemon) Status(_ *control.StatusRequest, stream control.Control_StatusServer) error {
	for _, e := range d.Events {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	return nil
}

// DiskUsage answers with Usage.
func (d *Daemon) DiskUsage(_ context.Context, req *control.DiskUsageRequest) (*control.DiskUsageResponse, error) {
	d.record(req)
	return &control.DiskUsageResponse{Record: d.Usage}, nil
}

// Prune removes all of Usage.
func (d *Daemon) Prune(req *control.PruneRequest, stream control.Control_PruneServer) error {
	d.record(req)
	for _, r := range d.Usage {
		if err := stream.Send(r); err != nil {
			return err
		}
	}
	return nil
}

// ListWorkers answers with Workers.
func (d *Daemon) ListWorkers(_ context.Context, req *control.ListWorkersRequest) (*control.ListWorkersResponse, error) {
	d.record(req)
	return &control.ListWorkersResponse{Record: d.Workers}, nil
}

// ListenBuildHistory sends History.
func (d *Daemon) ListenBuildHistory(req *control.BuildHistoryRequest, stream control.Control_ListenBuildHistoryServer) error {
	d.record(req)
	for _, e := range d.History {
		if err := stream.Send(e); err != nil {
			return err
		}
	}
	return nil
}

// UpdateBuildHistory records the call.
func (d *Daemon) UpdateBuildHistory(_ context.Context, req *control.UpdateBuildHistoryRequest) (*control.UpdateBuildHistoryResponse, error) {
	d.record(req)
	return &control.UpdateBuildHistoryResponse{}, nil
}

// Collect sends Report.
func (d *Daemon) Collect(req *diagnose.CollectRequest, stream diagnose.Diagnose_CollectServer) error {
	if d.Report == nil {
		return d.UnimplementedDiagnoseServer.Collect(req, stream)
	}
	for _, c := range d.Report {
		if err := stream.Send(c); err != nil {
			return err
		}
	}
	return nil
}

// bridge is the daemon's side of builds that clients run.
type bridge struct {
	gateway.UnimplementedLLBBridgeServer
	daemon *Daemon
}

// Solve answers with the daemon's Answer.
func (b *bridge) Solve(_ context.Context, req *gateway.SolveRequest) (*gateway.SolveResponse, error) {
	b.daemon.record(req)
	return &gateway.SolveResponse{Result: &gateway.Result{Metadata: b.daemon.Answer}}, nil
}

// Return ends the build that the call belongs to.
func (b *bridge) Return(ctx context.Context, _ *gateway.ReturnRequest) (*gateway.ReturnResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, ref := range md.Get("buildkit-controlapi-buildid") {
		close(b.daemon.done(ref))
	}
	return &gateway.ReturnResponse{}, nil
}

// sessionStream carries bytes in Control's messages.
type sessionStream struct {
	stream control.Control_SessionServer
}

// SendBytes sends one message.
func (s sessionStream) SendBytes(b []byte) error {
	return s.stream.Send(&control.BytesMessage{Data: b})
}

// RecvBytes receives one message.
func (s sessionStream) RecvBytes() ([]byte, error) {
	m, err := s.stream.Recv()
	return m.GetData(), err
}
