package build

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Limits of nested builds.
const (
	// MaxDefinition bounds the file, in bytes; as what clients send.
	MaxDefinition = 16 << 20
	// MaxDepth bounds builds within builds.
	MaxDepth = 8
)

// Words of the wire.
const (
	keyType         = "buildkit.build.v0"
	definitionInput = "buildkit.llb.definition"
	filenameAttr    = "llbbuild.filename"
	defaultFilename = "buildkit.llb.definition"
	// builderLLB is the one builder there is.
	builderLLB = -1
)

// Solve solves a graph on behalf of the builds that env speaks for. The
// result is the caller's own hold; nil for the empty file system.
type Solve func(ctx context.Context, env solver.Env, def *pb.Definition) (solver.Result, error)

// Op is a build op.
type Op struct {
	op     *pb.BuildOp
	inputs int
	from   int64
	file   string
	depth  int
	solve  Solve
}

// New returns the op of a vertex with the given number of inputs, in a graph
// of a certain depth. Errors are errdefs InvalidArgument, or ResourceExhausted
// if builds are nested too deep.
func New(op *pb.BuildOp, inputs, depth int, solve Solve) (*Op, error) {
	if op.GetBuilder() != builderLLB {
		return nil, fmt.Errorf("build op: builder is %d, but only LLB builder (%d) is currently allowed: %w",
			op.GetBuilder(), builderLLB, errdefs.ErrInvalidArgument)
	}
	in, ok := op.GetInputs()[definitionInput]
	if !ok {
		return nil, fmt.Errorf("build op: no llb definition input %s found: %w", definitionInput, errdefs.ErrInvalidArgument)
	}
	if in.GetInput() < 0 || in.GetInput() >= int64(inputs) {
		return nil, fmt.Errorf("build op: input %s is %d of %d: %w", definitionInput, in.GetInput(), inputs, errdefs.ErrInvalidArgument)
	}
	if depth >= MaxDepth {
		return nil, fmt.Errorf("builds are nested more than %d deep: %w", MaxDepth, errdefs.ErrResourceExhausted)
	}
	file := defaultFilename
	if name := op.GetAttrs()[filenameAttr]; name != "" {
		file = name
	}
	return &Op{op: op, inputs: inputs, from: in.GetInput(), file: file, depth: depth, solve: solve}, nil
}

// Keys returns the identity of the op and its depth.
func (o *Op) Keys(context.Context, solver.Env) (solver.KeySpec, error) {
	data, err := json.Marshal(struct {
		Type  string
		Exec  *pb.BuildOp
		Depth int `json:",omitempty"`
	}{keyType, o.op, o.depth})
	if err != nil {
		return solver.KeySpec{}, err
	}
	return solver.KeySpec{Digest: digest.FromBytes(data), Inputs: make([]solver.InputKey, o.inputs)}, nil
}

// Run reads the definition and solves it.
func (o *Op) Run(ctx context.Context, env solver.Env, inputs []solver.Result) ([]solver.Result, error) {
	r, err := ref.From(inputs[o.from])
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("read definition %s: the input is empty: %w", o.file, errdefs.ErrNotFound)
	}
	def, err := o.read(ctx, r)
	if err != nil {
		return nil, err
	}
	out, err := o.solve(ctx, env, def)
	if err != nil {
		return nil, err
	}
	return []solver.Result{out}, nil
}

// tree is a file system to read from. Links lead no further than its root.
type tree interface {
	ReadFile(ctx context.Context, path string, offset, length int64) ([]byte, error)
}

func (o *Op) read(ctx context.Context, from tree) (*pb.Definition, error) {
	name := path.Join("/", o.file)
	data, err := from.ReadFile(ctx, name, 0, MaxDefinition+1)
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	if len(data) > MaxDefinition {
		return nil, fmt.Errorf("read definition %s: it has more than %d bytes: %w", name, MaxDefinition, errdefs.ErrInvalidArgument)
	}
	return parse(name, data)
}

// parse decodes a definition. An empty file is more likely a mistake than the
// empty file system.
func parse(name string, data []byte) (*pb.Definition, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("definition %s is an empty file: %w", name, errdefs.ErrInvalidArgument)
	}
	def := &pb.Definition{}
	if err := proto.Unmarshal(data, def); err != nil {
		return nil, fmt.Errorf("definition %s is no LLB (%w): %w", name, err, errdefs.ErrInvalidArgument)
	}
	return def, nil
}
