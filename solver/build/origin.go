package build

import (
	"iter"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Call is one request to a frontend, and what the frontend asked for in turn.
// The request of a client that sends a graph, or drives its build itself, is
// the root of all others.
type Call struct {
	// Frontend, Opts and Inputs are the request's.
	Frontend string
	Opts     map[string]string
	Inputs   map[string]*pb.Definition
	// Root is the client's own request; nil in the root itself.
	Root *Call

	mu      sync.Mutex
	calls   []*Call
	origins []*Origin
	images  []ResolvedImage
}

// ResolvedImage is an image whose digest or configuration a frontend asked
// for, whether or not it used it.
type ResolvedImage struct {
	// Source as it was resolved.
	Source *pb.SourceOp
	// Platform may be nil.
	Platform *ocispecs.Platform
	Digest   digest.Digest
}

// Origin is where one ref came from: a graph that a frontend asked to solve.
type Origin struct {
	// Call in which it was asked for.
	Call *Call
	// Definition as the frontend sent it.
	Definition *pb.Definition

	job   *job
	graph *loaded

	mu     sync.Mutex
	solved bool
}

// newCall returns the call of a request.
func newCall(req frontend.SolveRequest) *Call {
	req = builtin(req)
	return &Call{Frontend: req.Frontend, Opts: req.Opts, Inputs: req.Inputs}
}

// call opens a call below this one.
func (c *Call) call(req frontend.SolveRequest) *Call {
	root := c.Root
	if root == nil {
		root = c
	}
	sub := newCall(req)
	sub.Root = root
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, sub)
	return sub
}

// solve notes a graph.
func (c *Call) solve(o *Origin) *Origin {
	o.Call = c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.origins = append(c.origins, o)
	return o
}

// resolved notes an image.
func (c *Call) resolved(image ResolvedImage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.images = append(c.images, image)
}

// Images returns the images that were resolved in this call and those below.
func (c *Call) Images() []ResolvedImage {
	c.mu.Lock()
	images, calls := slices.Clone(c.images), slices.Clone(c.calls)
	c.mu.Unlock()
	for _, sub := range calls {
		images = append(images, sub.Images()...)
	}
	return images
}

// Solved returns the graphs of this call and those below that were solved, and
// not only registered.
func (c *Call) Solved() []*Origin {
	return slices.DeleteFunc(c.all(), func(o *Origin) bool { return !o.isSolved() })
}

// all returns the graphs of this call and those below.
func (c *Call) all() []*Origin {
	c.mu.Lock()
	origins, calls := slices.Clone(c.origins), slices.Clone(c.calls)
	c.mu.Unlock()
	for _, sub := range calls {
		origins = append(origins, sub.all()...)
	}
	return origins
}

func (o *Origin) markSolved() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.solved = true
}

func (o *Origin) isSolved() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.solved
}

// Step is a vertex as it was solved, policies applied.
type Step struct {
	// Digest is that of its events.
	Digest digest.Digest
	Name   string
	Op     *pb.Op
	// Platform the step is for.
	Platform ocispecs.Platform
	// Pin is what a source stood for; empty if it was not asked.
	Pin string
	// Traffic is what the step asked of a recorded network, in all its runs
	// in this build; nil if it did not.
	Traffic *solver.Traffic
}

// Steps visits the vertices of the graph, inputs first.
func (o *Origin) Steps() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for v := range o.graph.llb.All() {
			if !yield(o.step(v)) {
				return
			}
		}
	}
}

func (o *Origin) step(v *llb.Vertex) Step {
	d := o.graph.names.digest(v)
	o.job.mu.Lock()
	defer o.job.mu.Unlock()
	return Step{Digest: d, Name: v.Name, Op: v.Op, Platform: v.Platform, Pin: o.job.pins[d], Traffic: o.job.traffic[d]}
}

// head is the vertex that a definition's result comes from, as its sender
// knows it; empty for the empty file system.
func head(def *pb.Definition) digest.Digest {
	n := len(def.GetDef())
	if n == 0 {
		return ""
	}
	var last pb.Op
	if proto.Unmarshal(def.GetDef()[n-1], &last) != nil || len(last.GetInputs()) != 1 {
		return ""
	}
	return digest.Digest(last.GetInputs()[0].GetDigest())
}
