package build

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/gateway"
	"github.com/kilnbuild/kiln/solver/graph"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/policy"
	"github.com/kilnbuild/kiln/solver/progress"
)

// job is one running build.
type job struct {
	builder      *Builder
	id           string
	request      *Request
	stream       *progress.Stream
	graph        *graph.Job
	entitlements map[string]bool
	// root is the client's request, below which are all others.
	root    *Call
	devices devices
	// nestings counts the graphs that build ops of this build have solved.
	nestings atomic.Int64

	// policies apply to every source of the build.
	policies *policy.Set
	// ahead prepares exports while steps run; nil if there is nothing to
	// prepare. It is set before the first step.
	ahead *ahead
	// allowed has what policies made of sources, described what is known of
	// them.
	allowed   memo[*pb.SourceOp]
	described memo[*frontend.SourceMeta]

	// caches are those the build looks into, unexported the vertices whose
	// results those that it writes do not get; mu guards the latter.
	caches     importedCaches
	unexported map[digest.Digest]bool

	mu    sync.Mutex
	count *counter
	// pins are what sources stood for, by vertex.
	pins map[digest.Digest]string
	// traffic is what steps asked of the recorded network, by vertex.
	traffic map[digest.Digest]*solver.Traffic
	gateway *gateway.Session
	// releases let go of what exporters made; observers may keep it before.
	releases []func(context.Context)
	// inspected says that a frontend may look into failed steps, failures what
	// those left.
	inspected bool
	// advice is about the result, for the client; set before the export.
	advice   []solver.WarningEvent
	failures failures
}

// open starts a build: from here on its events can be read.
func (b *Builder) open(req *Request) (*job, error) {
	if req.ID == "" {
		return nil, fmt.Errorf("a build needs an id: %w", errdefs.ErrInvalidArgument)
	}
	if err := b.admit(); err != nil {
		return nil, err
	}
	j := &job{
		builder: b, id: req.ID, request: req, stream: progress.NewStream(progress.StreamConfig{}),
		count: newCounter(),
		pins:  map[digest.Digest]string{}, root: newCall(frontend.SolveRequest{Frontend: req.Frontend, Opts: req.Opts, Inputs: req.Inputs}),
	}
	var err error
	j.graph, err = b.cfg.Graph.NewJob(req.ID, graph.JobConfig{Sessions: j.Sessions, Sink: j.emit, Caches: j.caches.levels})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrAlreadyExists)
	}
	if err := b.add(j); err != nil {
		return nil, err
	}
	return j, nil
}

// accept reads what the request allows and forbids the build. That is after
// open: a client that waits for the events of a build that never opens learns
// of its mistake seconds later.
func (j *job) accept() (err error) {
	req := j.request
	if j.entitlements, err = j.builder.grant(req.Entitlements); err != nil {
		return err
	}
	if j.devices, err = grantedDevices(req.Entitlements); err != nil {
		return err
	}
	if req.SourcePolicy != nil {
		j.policies, err = policy.Compile(req.SourcePolicy)
	}
	return err
}

// close ends the build's interest in everything.
func (j *job) close(ctx context.Context) {
	j.graph.Close(context.WithoutCancel(ctx))
	j.dropFailures(context.WithoutCancel(ctx))
	j.stream.Close()
	j.builder.remove(j)
	j.mu.Lock()
	releases := j.releases
	j.releases = nil
	j.mu.Unlock()
	for _, release := range releases {
		release(context.WithoutCancel(ctx))
	}
}

// releaseLater calls fn when the build is closed; it may be nil.
func (j *job) releaseLater(fn func(context.Context)) {
	if fn == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.releases = append(j.releases, fn)
}

// Sessions has the client's session.
func (j *job) Sessions() []string {
	if j.request.SessionID == "" {
		return nil
	}
	return []string{j.request.SessionID}
}

// emit counts and passes on what the build says.
func (j *job) emit(ev solver.Event) {
	j.mu.Lock()
	if v := ev.Vertex; v != nil {
		j.count.total[v.Digest] = struct{}{}
		if v.Completed != nil && v.Error == "" {
			j.count.completed[v.Digest] = struct{}{}
		}
		if v.Cached {
			j.count.cached[v.Digest] = struct{}{}
		}
	}
	if ev.Warning != nil {
		j.count.warnings++
	}
	if ev.Pin != nil {
		j.pins[ev.Pin.Vertex] = ev.Pin.Pin
	}
	if ev.Traffic != nil {
		j.noteTraffic(ev.Traffic)
	}
	j.mu.Unlock()
	j.stream.Emit(ev)
}

func (j *job) steps() Steps {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.count.steps()
}

// inline runs fn as a vertex of its own, which no graph has: resolving a name,
// or an export.
func (j *job) inline(dgst digest.Digest, name string, fn func(env solver.Env) error) error {
	started := j.builder.cfg.Now()
	j.emit(solver.Event{Vertex: &solver.VertexEvent{Digest: dgst, Name: name, Started: &started}})
	err := fn(&inlineEnv{job: j, vertex: dgst})
	completed := j.builder.cfg.Now()
	end := &solver.VertexEvent{Digest: dgst, Name: name, Started: &started, Completed: &completed}
	if err != nil {
		end.Error = err.Error()
	}
	j.emit(solver.Event{Vertex: end})
	return err
}

// inlineEnv is the Env of an inline vertex.
type inlineEnv struct {
	job    *job
	vertex digest.Digest
}

// Sessions has the client's session.
func (e *inlineEnv) Sessions() []string { return e.job.Sessions() }

// Emit fills in the vertex.
func (e *inlineEnv) Emit(ev solver.Event) {
	switch {
	case ev.Status != nil:
		s := *ev.Status
		s.Vertex = e.vertex
		ev.Status = &s
	case ev.Log != nil:
		l := *ev.Log
		l.Vertex = e.vertex
		ev.Log = &l
	case ev.Warning != nil:
		w := *ev.Warning
		w.Vertex = e.vertex
		ev.Warning = &w
	}
	e.job.emit(ev)
}
