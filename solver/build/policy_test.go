package build

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	pbgateway "github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/policysession"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
	"github.com/kilnbuild/kiln/solver/policy"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
)

// images is a source that knows the digest of everything and fetches nothing.
type images struct {
	source.Source
	mu       sync.Mutex
	resolved []string
}

func (*images) Schemes() []string { return []string{"docker-image"} }

func (*images) Normalize(id source.Identifier) (string, error) {
	if strings.Contains(id.Ref, "/") {
		return id.Ref, nil
	}
	return "docker.io/library/" + id.Ref, nil
}

func (s *images) Resolve(_ context.Context, _ solver.Env, id source.Identifier, _ source.ResolveOptions) (*source.Meta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resolved = append(s.resolved, id.Ref)
	return &source.Meta{Image: &source.ImageMeta{Digest: digest.FromString(id.Ref)}}, nil
}

// verifier is the client's end of a policy session.
type verifier struct {
	policysession.UnimplementedPolicyVerifierServer
	check func(context.Context, *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error)
	mu    sync.Mutex
	calls int
}

func (v *verifier) CheckPolicy(ctx context.Context, req *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error) {
	v.mu.Lock()
	v.calls++
	v.mu.Unlock()
	return v.check(ctx, req)
}

// open serves the verifier as a session.
func (v *verifier) open(t *testing.T, m *session.Manager, id string) {
	t.Helper()
	server := grpc.NewServer()
	policysession.RegisterPolicyVerifierServer(server, v)
	l := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(l) }()
	conn, err := l.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func(conn net.Conn) {
		defer close(ended)
		_ = m.Serve(context.WithoutCancel(t.Context()), conn, session.Options{ID: id})
	}(conn)
	t.Cleanup(func() { server.Stop(); <-ended })
	if _, err := m.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// policed returns a job under policies, and its sources.
func policed(t *testing.T, v *verifier, p *spb.Policy) (*job, *images) {
	t.Helper()
	src := &images{}
	b := New(Config{
		Sessions: session.NewManager(), Sources: source.NewRegistry(src),
		Worker: frontend.WorkerInfo{Platforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}},
	})
	set, err := policy.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	j := &job{
		builder: b, request: &Request{ID: t.Name()}, count: newCounter(), policies: set,
		stream: progress.NewStream(progress.StreamConfig{}),
	}
	if v != nil {
		j.request.PolicySession = "verifier"
		v.open(t, b.cfg.Sessions, "verifier")
	}
	return j, src
}

func decided(d *policysession.DecisionResponse) *policysession.CheckPolicyResponse {
	return &policysession.CheckPolicyResponse{Result: &policysession.CheckPolicyResponse_Decision{Decision: d}}
}

// pair is a graph of two images, one for another platform.
func pair(t *testing.T, a, b string) *pb.Definition {
	t.Helper()
	def := &pb.Definition{}
	add := func(op *pb.Op) string {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		def.Def = append(def.Def, data)
		return digest.FromBytes(data).String()
	}
	image := func(ref, arch string) *pb.Input {
		return &pb.Input{Digest: add(&pb.Op{
			Op:       &pb.Op_Source{Source: &pb.SourceOp{Identifier: "docker-image://" + ref}},
			Platform: &pb.Platform{OS: "linux", Architecture: arch},
		})}
	}
	merged := add(&pb.Op{Inputs: []*pb.Input{image(a, "amd64"), image(b, "arm64")}, Op: &pb.Op_Merge{Merge: &pb.MergeOp{
		Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}},
	}}})
	add(&pb.Op{Inputs: []*pb.Input{{Digest: merged}}})
	return def
}

// loadUnder loads a graph as a job does.
func loadUnder(t *testing.T, j *job, def *pb.Definition, more ...*spb.Policy) ([]string, error) {
	t.Helper()
	rewrite, err := j.rewriter(more)
	if err != nil {
		return nil, err
	}
	g, err := llb.Load(t.Context(), def, llb.Options{DefaultPlatform: j.builder.platform(), RewriteSource: rewrite})
	if err != nil {
		return nil, err
	}
	var out []string
	for v := range g.All() {
		if s := v.Op.GetSource(); s != nil {
			out = append(out, s.Identifier)
		}
	}
	return out, nil
}

func rule(action spb.PolicyAction, id, to string) *spb.Policy {
	r := &spb.Rule{Action: action, Selector: &spb.Selector{Identifier: id}}
	if to != "" {
		r.Updates = &spb.Update{Identifier: to}
	}
	return &spb.Policy{Rules: []*spb.Rule{r}}
}

const hub = "docker-image://docker.io/library/"

// The build's policies come first for graphs, a frontend's for questions.
func TestPolicyOrder(t *testing.T) {
	j, src := policed(t, nil, rule(spb.PolicyAction_CONVERT, hub+"a", hub+"b"))
	more := rule(spb.PolicyAction_CONVERT, hub+"a", hub+"c")
	got, err := loadUnder(t, j, pair(t, "a", "z"), more)
	if err != nil || strings.Join(got, " ") != hub+"b "+hub+"z" {
		t.Errorf("%v, %v", got, err)
	}
	br := &bridge{job: j, call: &Call{}}
	m, err := br.ResolveSource(t.Context(), &pb.SourceOp{Identifier: "docker-image://a"}, frontend.ResolveOptions{Policies: []*spb.Policy{more}})
	if err != nil || m.Op.Identifier != hub+"c" || m.Image.Digest != digest.FromString("docker.io/library/c") {
		t.Errorf("%v, %v", m, err)
	}
	m, err = br.ResolveSource(t.Context(), &pb.SourceOp{Identifier: "docker-image://a"}, frontend.ResolveOptions{})
	if err != nil || m.Op.Identifier != hub+"b" {
		t.Errorf("%v, %v", m, err)
	}
	_, err = br.ResolveSource(t.Context(), &pb.SourceOp{Identifier: "docker-image://z"}, frontend.ResolveOptions{
		Policies: []*spb.Policy{rule(spb.PolicyAction_DENY, hub+"z", "")},
	})
	if !errors.Is(err, policy.ErrDenied) || !strings.HasPrefix(err.Error(), "could not resolve image due to policy: ") {
		t.Errorf("%v", err)
	}
	if _, err := loadUnder(t, j, pair(t, "a", "z"), rule(spb.PolicyAction_DENY, "*", "")); err == nil ||
		!strings.Contains(err.Error(), "error evaluating the source policy: source ") {
		t.Errorf("%v", err)
	}
	if _, err := loadUnder(t, j, pair(t, "a", "z"), &spb.Policy{Rules: []*spb.Rule{{}}}); err == nil {
		t.Error("a rule without selector is taken")
	}
	// What was denied was not asked about.
	if len(src.resolved) != 2 {
		t.Errorf("resolved %v", src.resolved)
	}
}

// Without a policy sources stay as they are, letter by letter.
func TestNoPolicy(t *testing.T) {
	j, _ := policed(t, nil, &spb.Policy{})
	if got, err := loadUnder(t, j, pair(t, "a", "b")); err != nil || strings.Join(got, " ") != "docker-image://a docker-image://b" {
		t.Errorf("%v, %v", got, err)
	}
}

// A verifier is asked about all sources at once, about each once in a build,
// with its platform, and is told what it asks for.
func TestPolicySession(t *testing.T) {
	both := make(chan struct{})
	var once sync.WaitGroup
	once.Add(2)
	go func() { once.Wait(); close(both) }()
	v := &verifier{}
	v.check = func(ctx context.Context, req *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error) {
		op := req.GetSource().GetSource()
		if req.GetSource().GetImage() != nil {
			if got := req.GetSource().GetImage().GetDigest(); got != digest.FromString("docker.io/library/b").String() {
				return nil, errors.New("told " + got)
			}
			return decided(&policysession.DecisionResponse{Action: spb.PolicyAction_ALLOW}), nil
		}
		once.Done()
		select {
		case <-both:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch op.GetIdentifier() + req.GetPlatform().GetArchitecture() {
		case hub + "aamd64":
			return decided(&policysession.DecisionResponse{Action: spb.PolicyAction_ALLOW}), nil
		case hub + "barm64":
			return &policysession.CheckPolicyResponse{Result: &policysession.CheckPolicyResponse_Request{
				Request: &pbgateway.ResolveSourceMetaRequest{Source: op, Platform: req.GetPlatform()},
			}}, nil
		}
		return nil, errors.New("asked about " + req.String())
	}
	j, src := policed(t, v, &spb.Policy{})
	for range 2 {
		if got, err := loadUnder(t, j, pair(t, "a", "b")); err != nil || strings.Join(got, " ") != hub+"a "+hub+"b" {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if v.calls != 3 || len(src.resolved) != 1 {
		t.Errorf("%d calls, %v resolved, want 3 calls and one", v.calls, src.resolved)
	}
}

// A refusal carries its reasons, a verifier's failure its text, and a verifier
// that has gone allows nothing.
func TestPolicySessionRefuses(t *testing.T) {
	v := &verifier{}
	v.check = func(_ context.Context, req *policysession.CheckPolicyRequest) (*policysession.CheckPolicyResponse, error) {
		if strings.HasSuffix(req.GetSource().GetSource().GetIdentifier(), "/a") {
			return nil, errors.New("no idea")
		}
		return decided(&policysession.DecisionResponse{
			Action: spb.PolicyAction_DENY, DenyMessages: []*policysession.DenyMessage{{Message: "too old"}},
		}), nil
	}
	j, src := policed(t, v, &spb.Policy{})
	br := &bridge{job: j, call: &Call{}}
	_, err := br.ResolveSource(t.Context(), &pb.SourceOp{Identifier: "docker-image://b"}, frontend.ResolveOptions{})
	var denied *rpcerr.DenyError
	if !errors.As(err, &denied) || len(denied.Messages) != 1 || !strings.Contains(err.Error(), "not allowed by policy: action DENY") {
		t.Errorf("%v", err)
	}
	if _, err = loadUnder(t, j, pair(t, "a", "a")); err == nil || !strings.Contains(err.Error(), "no idea") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j.request.PolicySession = "gone"
	if _, err := br.ResolveSource(ctx, &pb.SourceOp{Identifier: "docker-image://c"}, frontend.ResolveOptions{}); err == nil ||
		!strings.Contains(err.Error(), "source policy session: no active session for gone") {
		t.Errorf("%v", err)
	}
	if len(src.resolved) != 0 {
		t.Errorf("resolved %v", src.resolved)
	}
}

// The one who asks may go; the next one asks again, and an answer, good or
// bad, is remembered.
func TestMemo(t *testing.T) {
	var m memo[int]
	ctx, cancel := context.WithCancel(t.Context())
	asked, waited := make(chan struct{}), make(chan int)
	go func() {
		_, _ = m.do(ctx, "q", func(ctx context.Context) (int, error) { close(asked); <-ctx.Done(); return 0, ctx.Err() })
	}()
	<-asked
	go func() {
		v, _ := m.do(t.Context(), "q", func(context.Context) (int, error) { return 7, nil })
		waited <- v
	}()
	cancel()
	if v := <-waited; v != 7 {
		t.Errorf("%d, want 7", v)
	}
	bad := errors.New("bad")
	for range 2 {
		if v, err := m.do(t.Context(), "q", func(context.Context) (int, error) { return 8, nil }); v != 7 || err != nil {
			t.Errorf("%d, %v", v, err)
		}
		if _, err := m.do(t.Context(), "r", func(context.Context) (int, error) { e := bad; bad = nil; return 0, e }); err == nil {
			t.Error("the error is forgotten")
		}
	}
}
