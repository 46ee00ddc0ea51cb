package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Options of a request that this package reads.
const (
	optSource = "source"
	optCaps   = "frontend.caps"
	// optDevel asked for something that is no more.
	optDevel = "gateway-devel"
)

// Capabilities and labels of frontend images.
const (
	capInputs    = "moby.buildkit.frontend.inputs"
	labelCaps    = "moby.buildkit.frontend.caps"
	labelNetwork = "moby.buildkit.frontend.network.none"
)

// definitionFile is where a frontend finds the graph it was itself made from.
const definitionFile = "/run/config/buildkit/metadata/frontend.bin"

// Host is the bridge that a frontend in a container needs: one that makes
// containers and takes conversations.
type Host interface {
	frontend.Bridge
	gateway.Containers
	// OpenSession opens a conversation with a frontend that was called with
	// these inputs. The caller closes it.
	OpenSession(ctx context.Context, inputs map[string]*pb.Definition) *gateway.Session
}

// Frontend runs frontend images.
type Frontend struct {
	// allowed are names of repositories; empty allows all.
	allowed []string
}

// New returns a Frontend for images of the allowed repositories, which may be
// given in the short form; none allows all.
func New(allowed []string) (*Frontend, error) {
	f := &Frontend{}
	for _, name := range allowed {
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, fmt.Errorf("allowed frontend repository %q: %w", name, err)
		}
		f.allowed = append(f.allowed, reference.TrimNamed(named).Name())
	}
	return f, nil
}

// Solve runs the frontend that the option "source" names. The bridge must be a
// Host.
func (f *Frontend) Solve(ctx context.Context, b frontend.Bridge, req frontend.Request) (*frontend.Result, error) {
	host, ok := b.(Host)
	if !ok {
		return nil, fmt.Errorf("frontend images run inside a builder only: %w", errdefs.ErrNotImplemented)
	}
	if _, ok := req.Opts[optDevel]; ok {
		return nil, fmt.Errorf("development gateway is no longer supported: %w", errdefs.ErrNotImplemented)
	}
	source := req.Opts[optSource]
	if source == "" {
		return nil, fmt.Errorf("no source specified for gateway: %w", errdefs.ErrInvalidArgument)
	}
	if err := f.allow(source); err != nil {
		return nil, err
	}
	im, err := find(ctx, host, source, req)
	if err != nil {
		return nil, err
	}
	if err := im.supports(req); err != nil {
		return nil, err
	}
	spec, err := container(ctx, host, im)
	if err != nil {
		return nil, err
	}
	c, err := host.NewContainer(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { warn(ctx, c.Close(context.WithoutCancel(ctx))) }()
	s := host.OpenSession(ctx, req.Inputs)
	defer func() { warn(ctx, s.Close(context.WithoutCancel(ctx))) }()
	process, err := im.process(host.Info(), req)
	if err != nil {
		return nil, err
	}
	return converse(ctx, c, s, process)
}

func warn(ctx context.Context, err error) {
	if err != nil {
		log.G(ctx).WithError(err).Warn("clean up after a frontend")
	}
}

// allow refuses sources outside the allowed repositories.
func (f *Frontend) allow(source string) error {
	if len(f.allowed) == 0 {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return fmt.Errorf("gateway source: %w", errors.Join(err, errdefs.ErrInvalidArgument))
	}
	if !slices.Contains(f.allowed, reference.TrimNamed(named).Name()) {
		return fmt.Errorf("'%s' is not an allowed gateway source: %w", source, errdefs.ErrPermissionDenied)
	}
	return nil
}

// supports checks that the image understands what the request needs of it.
func (im *found) supports(req frontend.Request) error {
	has := capSet(im.config.Config.Labels[labelCaps])
	if slices.Contains(unlabelled, im.digest) {
		has = append(has, capInputs)
	}
	wants := capSet(req.Opts[optCaps])
	if len(req.Inputs) > 0 {
		wants = append(wants, capInputs)
	}
	for _, c := range wants {
		if !slices.Contains(has, c) {
			return &solver.CapError{Name: c}
		}
	}
	return nil
}

// capSet reads a list of capabilities; what follows a "+" is of no account.
func capSet(list string) []string {
	var out []string
	for c := range strings.SplitSeq(list, ",") {
		if name, _, _ := strings.Cut(c, "+"); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// container defines the container of an image.
func container(ctx context.Context, host Host, im *found) (gateway.ContainerSpec, error) {
	spec := gateway.ContainerSpec{Name: "frontend " + im.name}
	def, err := compose.Marshal(im.state, compose.Options{})
	if err != nil {
		return spec, err
	}
	res, err := host.Solve(ctx, frontend.SolveRequest{Definition: def})
	if err != nil {
		return spec, err
	}
	if res.Ref == nil {
		return spec, fmt.Errorf("gateway source %s is empty: %w", im.name, errdefs.ErrInvalidArgument)
	}
	graph, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return spec, fmt.Errorf("graph of frontend %s: %w", im.name, err)
	}
	spec.Mounts = []gateway.Mount{{Mount: &pb.Mount{Dest: "/"}, Ref: res.Ref}}
	spec.Files = []executor.File{{Dest: definitionFile, Data: graph}}
	if im.isolated() {
		spec.Network = pb.NetMode_NONE
	}
	return spec, nil
}
