package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

const (
	imageConfig = `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers",` +
		`"diff_ids":["sha256:2222222222222222222222222222222222222222222222222222222222222222"]}}`
	imageDigest = digest.Digest("sha256:1111111111111111111111111111111111111111111111111111111111111111")
)

// bridge answers from memory: files by source and path, images all alike. It
// keeps the graphs that it was given.
type bridge struct {
	t testing.TB
	// files are by source identifier and then by path.
	files map[string]map[string]string
	// forwarded answers a request for another frontend.
	forwarded func(frontend.SolveRequest) (*frontend.Result, error)
	// meta answers ResolveSource; nil: the one image.
	meta func(*pb.SourceOp) (*frontend.SourceMeta, error)

	mu       sync.Mutex
	graphs   []graph
	warnings []solver.WarningEvent
	lookups  []string
}

// graph is a solved definition in a form that is easy to compare.
type graph struct {
	def     *pb.Definition
	sources []*pb.SourceOp
	names   []string
	execs   []*pb.ExecOp
}

func (b *bridge) Solve(_ context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	if req.Frontend != "" {
		return b.forwarded(req)
	}
	g := graph{def: req.Definition}
	for _, encoded := range req.Definition.Def {
		op := &pb.Op{}
		if err := proto.Unmarshal(encoded, op); err != nil {
			return nil, err
		}
		if op.Op == nil {
			continue
		}
		g.names = append(g.names, req.Definition.Metadata[digest.FromBytes(encoded).String()].GetDescription()["llb.customname"])
		if source := op.GetSource(); source != nil {
			g.sources = append(g.sources, source)
		}
		if exec := op.GetExec(); exec != nil {
			g.execs = append(g.execs, exec)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.graphs = append(b.graphs, g)
	if len(req.Definition.Def) == 0 {
		return &frontend.Result{}, nil
	}
	return &frontend.Result{Ref: &ref{bridge: b, graph: g}}, nil
}

func (b *bridge) ResolveSource(_ context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	b.mu.Lock()
	b.lookups = append(b.lookups, opt.LogName)
	b.mu.Unlock()
	if b.meta != nil {
		return b.meta(op)
	}
	return &frontend.SourceMeta{Op: op, Image: &frontend.ImageMeta{Digest: imageDigest, Config: []byte(imageConfig)}}, nil
}

func (b *bridge) Warn(_ context.Context, w solver.WarningEvent) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.warnings = append(b.warnings, w)
	return nil
}

func (b *bridge) Info() frontend.Info {
	return frontend.Info{SessionID: "session", Workers: []frontend.WorkerInfo{
		{Platforms: []ocispecs.Platform{{OS: "linux", Architecture: "amd64"}}},
	}}
}

// last is the last graph, which is the result's.
func (b *bridge) last() graph { return b.graphs[len(b.graphs)-1] }

// ref reads the files of the first source of its graph.
type ref struct {
	bridge *bridge
	graph  graph
}

func (r *ref) Definition(context.Context) (*pb.Definition, error) { return r.graph.def, nil }

func (r *ref) Evaluate(context.Context) error { return nil }

func (r *ref) ReadFile(_ context.Context, path string, offset, length int64) ([]byte, error) {
	if len(r.graph.sources) == 0 {
		return nil, fs.ErrNotExist
	}
	text, ok := r.bridge.files[r.graph.sources[0].Identifier][path]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", path, fs.ErrNotExist)
	}
	data := []byte(text)[min(int(offset), len(text)):]
	if length > 0 {
		data = data[:min(int(length), len(data))]
	}
	return slices.Clone(data), nil
}

func (*ref) ReadDir(context.Context, string, string) ([]*fsutil.Stat, error) {
	return nil, errors.ErrUnsupported
}

func (*ref) StatFile(context.Context, string) (*fsutil.Stat, error) {
	return nil, errors.ErrUnsupported
}

// withDockerfile is a bridge whose client has this Dockerfile.
func withDockerfile(t testing.TB, text string) *bridge {
	return &bridge{t: t, files: map[string]map[string]string{"local://dockerfile": {"Dockerfile": text}}}
}

// solve runs the frontend; options come as name, value, name, value…
func (b *bridge) solve(options ...string) (*frontend.Result, error) {
	opts := map[string]string{}
	for i := 0; i+1 < len(options); i += 2 {
		opts[options[i]] = options[i+1]
	}
	return New().Solve(b.t.Context(), b, frontend.Request{Opts: opts})
}
