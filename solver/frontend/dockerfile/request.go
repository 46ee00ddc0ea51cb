package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// request is one request on its way. It is filled by load and then only read,
// but for what has a lock of its own.
type request struct {
	bridge frontend.Bridge
	info   frontend.Info
	inputs map[string]*pb.Definition
	opts   *options

	// text is the Dockerfile; vertex loaded it and carries the warnings.
	text   *solver.SourceInfo
	vertex digest.Digest

	main    mainContext
	ignore  ignoreFile
	lookups lookups
}

// load finds the contexts and reads the Dockerfile.
func (r *request) load(ctx context.Context) error {
	if err := r.openMain(ctx); err != nil {
		return err
	}
	state := r.definition()
	def, ref, err := r.solve(ctx, state)
	if err != nil {
		return fmt.Errorf("failed to resolve dockerfile: %w", err)
	}
	if ref == nil {
		return errors.New("failed to read dockerfile: the context is empty")
	}
	name := r.main.filename
	data, err := ref.ReadFile(ctx, name, 0, 0)
	if err != nil && path.Base(name) == defaultName {
		// Long ago the name in lower case was allowed, too.
		if lower, second := ref.ReadFile(ctx, lowerName(name), 0, 0); second == nil {
			data, err = lower, nil
		}
	}
	if err != nil {
		return fmt.Errorf("failed to read dockerfile: %w", err)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(def)
	if err != nil {
		return fmt.Errorf("encode the graph of the dockerfile: %w", err)
	}
	r.text = &solver.SourceInfo{Filename: name, Language: "Dockerfile", Data: data, Definition: encoded}
	r.vertex = head(def)
	if data, err := ref.ReadFile(ctx, name+ignoreSuffix, 0, 0); err == nil {
		r.ignore.set(name+ignoreSuffix, data)
	}
	return nil
}

// Names of files that have a meaning.
const (
	defaultName  = "Dockerfile"
	ignoreName   = ".dockerignore"
	ignoreSuffix = ".dockerignore"
)

// lowerName is the Dockerfile's name as it may also be written.
func lowerName(name string) string { return path.Join(path.Dir(name), strings.ToLower(defaultName)) }

// definition is where the Dockerfile is read from.
func (r *request) definition() compose.State {
	if r.main.dockerfile != nil {
		return *r.main.dockerfile
	}
	name := r.main.filename
	follow := []string{name, name + ignoreSuffix}
	if path.Base(name) == defaultName {
		follow = append(follow, lowerName(name))
	}
	return compose.Local(compose.LocalSource{
		Name: r.main.dockerfileName, SessionID: r.opts.session(r.main.dockerfileName, r.info), FollowPaths: follow,
		SharedKeyHint: r.main.dockerfileName, Differ: "none",
	}, compose.Info{Name: "[internal] load build definition from " + name})
}

// solve hands a graph to the bridge. The ref is nil for the empty file system.
func (r *request) solve(ctx context.Context, state compose.State) (*pb.Definition, frontend.Ref, error) {
	def, err := r.marshal(state)
	if err != nil {
		return nil, nil, err
	}
	result, err := r.bridge.Solve(ctx, frontend.SolveRequest{Definition: def})
	if err != nil {
		return nil, nil, err
	}
	return def, result.Ref, nil
}

// marshal writes a graph for this builder.
func (r *request) marshal(state compose.State) (*pb.Definition, error) {
	return compose.Marshal(state, r.marshalOptions())
}

// marshalOptions says what the builder can do. Directories of this session are
// marked with it, and so never taken for another client's.
func (r *request) marshalOptions() compose.Options {
	out := compose.Options{Platform: r.opts.native[0], LocalUnique: r.info.SessionID}
	if caps := r.info.LLBCaps; caps != nil {
		out.Supports = func(id string) bool { return caps[id] }
	}
	return out
}

// head is the vertex that a definition ends in, "" for an empty one.
func head(def *pb.Definition) digest.Digest {
	if len(def.GetDef()) == 0 {
		return ""
	}
	var pointer pb.Op
	if err := proto.Unmarshal(def.Def[len(def.Def)-1], &pointer); err != nil || len(pointer.Inputs) == 0 {
		return ""
	}
	return digest.Digest(pointer.Inputs[0].Digest)
}
