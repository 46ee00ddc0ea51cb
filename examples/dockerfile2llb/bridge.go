package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// bridge is a builder that builds nothing: a frontend can read the Dockerfile
// through it, and hand it graphs.
type bridge struct {
	dockerfile []byte
	// images answers for base images; nil for offline.
	images *imageSet
}

// Info says that everything is supported, on this machine's platform.
func (b *bridge) Info() frontend.Info {
	caps := map[string]bool{}
	for _, c := range llb.Caps() {
		caps[c.GetID()] = c.GetEnabled()
	}
	return frontend.Info{
		Product: "dockerfile2llb", LLBCaps: caps,
		Workers: []frontend.WorkerInfo{{ID: "none", Platforms: []ocispecs.Platform{platforms.DefaultSpec()}}},
	}
}

// Solve keeps the graph.
func (b *bridge) Solve(_ context.Context, req frontend.SolveRequest) (*frontend.Result, error) {
	if req.Frontend != "" {
		return nil, fmt.Errorf("frontend %s: only the built-in Dockerfile frontend is here (remove the syntax line): %w", req.Frontend, errdefs.ErrNotImplemented)
	}
	if llb.IsScratch(req.Definition) {
		return &frontend.Result{}, nil
	}
	return &frontend.Result{Ref: &graph{def: req.Definition, dockerfile: b.dockerfile}}, nil
}

// ResolveSource tells what a registry says of an image, or nothing.
func (b *bridge) ResolveSource(ctx context.Context, op *pb.SourceOp, opt frontend.ResolveOptions) (*frontend.SourceMeta, error) {
	if b.images != nil {
		return b.images.resolve(ctx, op, opt)
	}
	platform := platforms.DefaultSpec()
	if opt.Platform != nil {
		platform = *opt.Platform
	}
	// An image without layers would be taken for the empty file system.
	id := digest.FromString(op.GetIdentifier())
	config := fmt.Sprintf(`{"architecture":%q,"os":%q,"rootfs":{"type":"layers","diff_ids":[%q]}}`, platform.Architecture, platform.OS, id)
	return &frontend.SourceMeta{Op: op, Image: &frontend.ImageMeta{Config: []byte(config)}}, nil
}

// Warn drops advice: it is for whoever builds.
func (b *bridge) Warn(context.Context, solver.WarningEvent) error { return nil }

// graph is a graph that is never solved. The one file that can be read from it
// is the Dockerfile.
type graph struct {
	def        *pb.Definition
	dockerfile []byte
}

var errNotBuilt = fmt.Errorf("nothing is built here: %w", errdefs.ErrNotImplemented)

// Definition returns the graph.
func (g *graph) Definition(context.Context) (*pb.Definition, error) { return g.def, nil }

// Evaluate fails: there is no builder.
func (g *graph) Evaluate(context.Context) error { return errNotBuilt }

// ReadFile returns the Dockerfile. There is no .dockerignore.
func (g *graph) ReadFile(_ context.Context, name string, offset, length int64) ([]byte, error) {
	if path.Base(name) != "Dockerfile" {
		return nil, errors.Join(fmt.Errorf("read %s: %w", name, fs.ErrNotExist), errdefs.ErrNotFound)
	}
	data := g.dockerfile[min(int(offset), len(g.dockerfile)):]
	if length > 0 {
		data = data[:min(int(length), len(data))]
	}
	return data, nil
}

// ReadDir fails: there are no files.
func (g *graph) ReadDir(context.Context, string, string) ([]*fsutil.Stat, error) {
	return nil, errNotBuilt
}

// StatFile fails: there are no files.
func (g *graph) StatFile(context.Context, string) (*fsutil.Stat, error) { return nil, errNotBuilt }
