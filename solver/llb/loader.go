package llb

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// rewriters is how many sources are rewritten at once; each may be a round
// trip to a client or a registry.
const rewriters = 8

// proxyNetworkSuffix is appended to the bytes of a process behind the proxy
// before they are hashed. A wire fact.
const proxyNetworkSuffix = "\x00buildkit.proxy-network.v0"

// node is one operation on its way to becoming a vertex.
type node struct {
	op       *pb.Op
	meta     *pb.OpMetadata
	received digest.Digest
	// inputs correspond to op.Inputs; set by order.
	inputs []*node
	// depth is the longest path to a node without inputs, itself included.
	depth   int
	outputs int
	// digest is set by rehash.
	digest digest.Digest
	// vertex is set by makeVertices; nodes of one digest share it.
	vertex *Vertex
}

// loader holds the state between the steps of Load.
type loader struct {
	def     *pb.Definition
	options Options
	limits  Limits
	caps    capChecker

	// nodes holds every operation by received digest; followPointer takes the
	// pointer out.
	nodes map[digest.Digest]*node
	last  digest.Digest
	// result is the input of the pointer.
	result *pb.Input
	// sorted holds what the result needs, inputs first.
	sorted []*node
	graph  *Graph
}

// decode parses every operation within the budget.
func (l *loader) decode(context.Context) error {
	if len(l.def.GetDef()) == 0 {
		return invalidf("invalid empty definition")
	}
	if len(l.def.Def) > l.limits.Ops {
		return invalidf("invalid definition with %d ops: at most %d are allowed", len(l.def.Def), l.limits.Ops)
	}
	budget := l.limits.Elements
	l.nodes = make(map[digest.Digest]*node, len(l.def.Def))
	for _, encoded := range l.def.Def {
		op, err := l.decodeOp(encoded, &budget)
		if err != nil {
			return err
		}
		l.last = digest.FromBytes(encoded)
		meta := l.def.Metadata[string(l.last)]
		if meta == nil {
			meta = &pb.OpMetadata{}
		}
		l.nodes[l.last] = &node{op: op, meta: meta, received: l.last}
	}
	// Also of operations that nothing needs: a dangling input means that the
	// definition was cut.
	for _, n := range l.nodes {
		for _, input := range n.op.Inputs {
			if l.nodes[digest.Digest(input.Digest)] == nil {
				return invalidf("invalid missing input digest %s", input.Digest)
			}
		}
	}
	return nil
}

// opDescriptor describes Op to the scanner.
var opDescriptor protoreflect.MessageDescriptor = (&pb.Op{}).ProtoReflect().Descriptor()

func (l *loader) decodeOp(encoded []byte, budget *int) (*pb.Op, error) {
	if len(encoded) > l.limits.OpBytes {
		return nil, invalidf("invalid op of %d bytes: at most %d are allowed", len(encoded), l.limits.OpBytes)
	}
	if err := scan(encoded, opDescriptor, 0, budget); err != nil {
		return nil, invalidf("failed to parse llb proto op: %w", err)
	}
	op := &pb.Op{}
	if err := proto.Unmarshal(encoded, op); err != nil {
		return nil, invalidf("failed to parse llb proto op: %w", err)
	}
	for i, input := range op.Inputs {
		if input.Index < 0 {
			return nil, invalidf("invalid input %d output index %d", i, input.Index)
		}
	}
	return op, nil
}

// followPointer finds what the definition is there for.
func (l *loader) followPointer(context.Context) error {
	if len(l.nodes) < 2 {
		return invalidf("invalid LLB with %d vertexes", len(l.nodes))
	}
	pointer := l.nodes[l.last]
	switch {
	case len(pointer.op.Inputs) == 0:
		return invalidf("invalid LLB with no inputs on last vertex")
	case len(pointer.op.Inputs) > 1 || pointer.op.Op != nil:
		return invalidf("invalid LLB: last vertex must have one input and no operation")
	}
	if err := l.caps.check(pointer.meta); err != nil {
		return err
	}
	l.result = pointer.op.Inputs[0]
	// Nothing may build on the pointer.
	delete(l.nodes, l.last)
	return nil
}

// order sorts what the result needs, inputs first. It keeps its own stack:
// the depth of the graph is the sender's choice.
func (l *loader) order(context.Context) error {
	const (
		entered  = 1
		finished = 2
	)
	root := l.nodes[digest.Digest(l.result.Digest)]
	if root == nil {
		return invalidf("invalid missing input digest %s", l.result.Digest)
	}
	state := make(map[*node]int, len(l.nodes))
	if err := l.link(root); err != nil {
		return err
	}
	state[root] = entered
	stack := []visit{{node: root}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if top.next == len(top.node.inputs) {
			stack = stack[:len(stack)-1]
			state[top.node] = finished
			if err := l.finish(top.node); err != nil {
				return err
			}
			continue
		}
		input := top.node.inputs[top.next]
		top.next++
		switch state[input] {
		case finished:
		case entered:
			return invalidf("invalid LLB: vertex %s depends on itself", input.received)
		default:
			if err := l.link(input); err != nil {
				return err
			}
			state[input] = entered
			stack = append(stack, visit{node: input})
		}
	}
	return nil
}

// visit is a node on the way down and the input to go to next.
type visit struct {
	node *node
	next int
}

// link resolves the inputs of a node.
func (l *loader) link(n *node) error {
	if len(n.op.Inputs) > l.limits.Inputs {
		return invalidf("invalid op with %d inputs: at most %d are allowed", len(n.op.Inputs), l.limits.Inputs)
	}
	n.inputs = make([]*node, len(n.op.Inputs))
	for i, input := range n.op.Inputs {
		if n.inputs[i] = l.nodes[digest.Digest(input.Digest)]; n.inputs[i] == nil {
			return invalidf("invalid missing input digest %s", input.Digest)
		}
	}
	return nil
}

// finish records a node all of whose inputs are recorded.
func (l *loader) finish(n *node) error {
	n.depth = 1
	for _, input := range n.inputs {
		n.depth = max(n.depth, input.depth+1)
	}
	if n.depth > l.limits.Depth {
		return invalidf("invalid LLB: a chain of more than %d vertexes", l.limits.Depth)
	}
	l.sorted = append(l.sorted, n)
	return nil
}

// validate checks operations, metadata and the edges between them.
func (l *loader) validate(context.Context) error {
	for _, n := range l.sorted {
		if err := l.caps.check(n.meta); err != nil {
			return err
		}
		if err := l.limits.checkMetadata(n.received.String(), n.meta); err != nil {
			return err
		}
		outputs, err := validateOp(n.op, l.limits)
		if err != nil {
			return err
		}
		n.outputs = outputs
		for i, input := range n.op.Inputs {
			if input.Index >= int64(n.inputs[i].outputs) {
				return invalidf("invalid input %d output index %d", i, input.Index)
			}
		}
	}
	if root := l.sorted[len(l.sorted)-1]; l.result.Index >= int64(root.outputs) {
		return invalidf("invalid input 0 output index %d", l.result.Index)
	}
	return nil
}

// rewriteSources hands the sources to the caller.
func (l *loader) rewriteSources(ctx context.Context) error {
	if l.options.RewriteSource == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(rewriters)
	for _, n := range l.sorted {
		source := n.op.GetSource()
		if source == nil {
			continue
		}
		platform := PlatformToPB(PlatformFromPB(n.op.Platform, l.options.DefaultPlatform))
		group.Go(func() error {
			if err := l.options.RewriteSource(ctx, source, platform); err != nil {
				return err
			}
			return validateSource(source)
		})
	}
	return group.Wait()
}

// admit hands the operations to the caller.
func (l *loader) admit(context.Context) error {
	if l.options.Admit == nil {
		return nil
	}
	for _, n := range l.sorted {
		if err := l.options.Admit(n.op); err != nil {
			return err
		}
	}
	return nil
}

// rehash computes the digests of the operations as they are now, inputs first.
func (l *loader) rehash(context.Context) error {
	for _, n := range l.sorted {
		for i, input := range n.inputs {
			n.op.Inputs[i].Digest = input.digest.String()
		}
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(n.op)
		if err != nil {
			return fmt.Errorf("encode op %s: %w", n.received, err)
		}
		if l.behindProxy(n.op) {
			encoded = append(encoded, proxyNetworkSuffix...)
		}
		n.digest = digest.FromBytes(encoded)
	}
	return nil
}

// behindProxy says whether the operation is a process that would use the
// network in a build where the network is the proxy.
func (l *loader) behindProxy(op *pb.Op) bool {
	exec := op.GetExec()
	return exec != nil && l.options.ProxyNetwork && exec.Network != pb.NetMode_NONE
}
