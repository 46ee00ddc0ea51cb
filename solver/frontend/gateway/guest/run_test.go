package guest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	"github.com/kilnbuild/kiln/solver/frontend/gateway/guest"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	pbgateway "github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// host is a builder with one file.
type host struct{ warned []solver.WarningEvent }

func (*host) Solve(_ context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	if req.Frontend != "" {
		return nil, &solver.SubrequestError{Name: req.Frontend}
	}
	return &frontend.Result{
		Refs: map[string]frontend.Ref{"a": &file{def: req.Definition}, "b": nil}, Metadata: map[string][]byte{"m": []byte("v")},
	}, nil
}

func (*host) ResolveSource(_ context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	meta := &frontend.SourceMeta{Op: op, Git: &frontend.GitMeta{Ref: "refs/heads/x"}}
	if opt.GitObject {
		meta.Git.CommitObject = []byte("tree 1\nauthor A <a@b> 1 +0000\ncommitter C > <c@d> 1234 +0200\n\nmessage\ncommitter no\n")
	}
	return meta, nil
}

func (h *host) Warn(_ context.Context, w solver.WarningEvent) error {
	h.warned = append(h.warned, w)
	return nil
}

func (*host) Info() frontend.Info {
	return frontend.Info{LLBCaps: map[string]bool{"source.git": true}, Workers: []frontend.WorkerInfo{{ID: "w"}}}
}

// file is a ref of the host.
type file struct {
	frontend.Ref
	def *pb.Definition
}

func (f *file) Definition(context.Context) (*pb.Definition, error) { return f.def, nil }

func (f *file) ReadFile(_ context.Context, path string, offset, length int64) ([]byte, error) {
	return []byte(path)[offset : offset+length], nil
}

func (f *file) StatFile(_ context.Context, path string) (*fsutil.Stat, error) {
	return &fsutil.Stat{Path: path}, nil
}

func (f *file) Evaluate(context.Context) error { return errors.New("it does not work") }

// run runs a frontend against a host and returns what the host is told.
func run(t *testing.T, h *host, f frontend.Func) (*frontend.Result, error) {
	t.Helper()
	s := gateway.NewSession(gateway.Config{
		Bridge: h, Inputs: map[string]*pb.Definition{"in": {Def: [][]byte{[]byte("x")}}},
		Error: func(req *pbgateway.ReturnRequest) error { return rpcerr.FromStatus(req.GetError()) },
	})
	server := grpc.NewServer(grpc.UnaryInterceptor(rpcerr.UnaryServer))
	pbgateway.RegisterLLBBridgeServer(server, s)
	there, here := net.Pipe()
	go func() { _ = server.Serve(&single{conn: there, stop: make(chan struct{})}) }()
	t.Cleanup(server.Stop)
	env := guest.ReadEnvironment([]string{
		"BUILDKIT_FRONTEND_OPT_0=a=b=c", "BUILDKIT_FRONTEND_OPT_7=empty=", "BUILDKIT_FRONTEND_OPT_8=odd", "BUILDKIT_SESSION_ID=s", "PATH=/",
	})
	if err := guest.Run(t.Context(), f, env, here, nopCloser{here}); err != nil {
		t.Fatal(err)
	}
	return s.Wait(t.Context())
}

// nopCloser is for the second of two closers of one connection.
type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// single is a listener with one connection.
type single struct {
	conn net.Conn
	stop chan struct{}
}

func (s *single) Accept() (net.Conn, error) {
	if c := s.conn; c != nil {
		s.conn = nil
		return c, nil
	}
	<-s.stop
	return nil, net.ErrClosed
}

func (s *single) Close() error   { close(s.stop); return nil }
func (s *single) Addr() net.Addr { return &net.UnixAddr{} }

// checkBridge tries what a bridge can do.
func checkBridge(ctx context.Context, t *testing.T, b frontend.Bridge) {
	meta, err := b.ResolveSource(ctx, &pb.SourceOp{Identifier: "git://x"}, frontend.ResolveOptions{CommitTime: true})
	if err != nil || meta.Git.CommitTime == nil || *meta.Git.CommitTime != 1234 {
		t.Errorf("%+v, %v", meta, err)
	}
	if _, err := b.Solve(ctx, frontend.SolveRequest{Frontend: "other"}); !errors.As(err, new(*solver.SubrequestError)) {
		t.Errorf("%v", err)
	}
	warning := solver.WarningEvent{Vertex: digest.FromString("v"), Level: 1, Short: []byte("w")}
	if err := b.Warn(ctx, warning); err != nil {
		t.Error(err)
	}
}

// checkRef tries what a ref can do.
func checkRef(ctx context.Context, t *testing.T, r frontend.Ref) {
	data, err := r.ReadFile(ctx, "abcdef", 1, 3)
	if err != nil || string(data) != "bcd" {
		t.Errorf("%q, %v", data, err)
	}
	if def, err := r.Definition(ctx); err != nil || string(def.GetDef()[0]) != "d" {
		t.Errorf("%v, %v", def, err)
	}
	if err := r.Evaluate(ctx); err == nil || err.Error() != "it does not work" {
		t.Errorf("%v", err)
	}
}

func TestResult(t *testing.T) {
	h := &host{}
	res, err := run(t, h, func(ctx context.Context, b frontend.Bridge, req frontend.Request) (*frontend.Result, error) {
		info := b.Info()
		if len(req.Opts) != 2 || req.Opts["a"] != "b=c" || len(req.Inputs["in"].GetDef()) != 1 {
			t.Errorf("%+v", req)
		}
		if info.SessionID != "s" || !info.LLBCaps["source.git"] || info.LLBCaps["source.http"] || info.Workers[0].ID != "w" {
			t.Errorf("%+v", info)
		}
		checkBridge(ctx, t, b)
		res, err := b.Solve(ctx, frontend.SolveRequest{Definition: &pb.Definition{Def: [][]byte{[]byte("d")}}})
		if err != nil {
			return nil, err
		}
		checkRef(ctx, t, res.Refs["a"])
		res.Attestations = map[string][]frontend.Attestation{
			"a": {{PredicateType: "p", Ref: res.Refs["a"], Path: "/p", Subjects: []frontend.Subject{{Kind: 1, Name: "n", Digests: []string{"d"}}}}},
		}
		return res, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f, ok := res.Refs["a"].(*file)
	if b, there := res.Refs["b"]; !ok || !there || b != nil || string(f.def.GetDef()[0]) != "d" || string(res.Metadata["m"]) != "v" {
		t.Errorf("%+v", res)
	}
	if as := res.Attestations["a"]; len(as) != 1 || as[0].Ref != res.Refs["a"] || as[0].Subjects[0].Digests[0] != "d" {
		t.Errorf("%+v", res.Attestations)
	}
	if len(h.warned) != 1 || string(h.warned[0].Short) != "w" {
		t.Errorf("%+v", h.warned)
	}
}

func TestFailure(t *testing.T) {
	_, err := run(t, &host{}, func(context.Context, frontend.Bridge, frontend.Request) (*frontend.Result, error) {
		return nil, &solver.SourceError{Info: &solver.SourceInfo{Filename: "F"}, Err: errors.New("wrong")}
	})
	var placed *solver.SourceError
	if !errors.As(err, &placed) || placed.Info.Filename != "F" || !strings.Contains(err.Error(), "wrong") {
		t.Errorf("%v", err)
	}
	if _, err := run(t, &host{}, func(context.Context, frontend.Bridge, frontend.Request) (*frontend.Result, error) {
		return &frontend.Result{Ref: &file{}}, nil
	}); err == nil {
		t.Error("a ref of nobody was returned")
	}
}

// FuzzEnvironment reads what a host could set.
func FuzzEnvironment(f *testing.F) {
	f.Add("BUILDKIT_FRONTEND_OPT_0=a=b")
	f.Add("BUILDKIT_FRONTEND_OPT_=")
	f.Fuzz(func(t *testing.T, text string) {
		if env := guest.ReadEnvironment([]string{text}); len(env.Opts) > 1 {
			t.Errorf("%q is %v", text, env.Opts)
		}
	})
}
