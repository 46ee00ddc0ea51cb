package build

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/cache/remote"
	"github.com/kilnbuild/kiln/solver/executor"
	"github.com/kilnbuild/kiln/solver/executor/cdi"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/graph"
	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/source"
)

// Waiting times that clients are used to.
const (
	// eventsWait bounds how long Events waits for a build to start.
	eventsWait = 6 * time.Second
	// gatewayWait bounds how long Gateway waits for a build to start.
	gatewayWait = 3 * time.Second
)

// keptStreams is how many ended builds keep their events for late readers.
const keptStreams = 32

// OpFactory makes the op of a vertex. Errors are the client's fault and name
// the field. The gate decides about requests of processes behind the recording
// proxy; it may be nil.
type OpFactory func(ctx context.Context, v *llb.Vertex, gate executor.Gate) (solver.Op, error)

// Config is what a Builder is made of.
type Config struct {
	Graph    *graph.Solver
	Sessions *session.Manager
	Sources  *source.Registry
	NewOp    OpFactory
	// NewContainer makes containers that frontends ask for.
	NewContainer ContainerFactory
	Frontends    map[string]frontend.Frontend
	Exporters    map[string]export.Exporter
	// Caches are the places of remote caches by wire name, LocalCache is the
	// builder's side of them.
	Caches     map[string]remote.Backend
	LocalCache *remote.Local
	// Worker describes the builder; the first platform is the native one.
	Worker frontend.WorkerInfo
	// Platforms returns what the worker can run at the moment, the native one
	// first; nil if that never changes.
	Platforms func() []ocispecs.Platform
	// Devices are what steps can be given; nil for none.
	Devices *cdi.Registry
	// ProxyNetwork puts the steps of all builds behind the recording proxy.
	ProxyNetwork bool
	// Entitlements are what the daemon allows builds at all.
	Entitlements []string
	// Attesters say something about results, in order.
	Attesters []Attester
	// Observers are told of builds, in order.
	Observers []Observer
	// DisabledCaps are LLB capabilities that graphs must not ask for, with the
	// reason shown to users.
	DisabledCaps map[string]string
	// Span marks a part of a build, named in words, as graph.Config.Span does;
	// nil marks nothing.
	Span func(ctx context.Context, name string) (_ context.Context, end func(error))
	Now  func() time.Time
}

// Observer is told when builds start and end. Internal builds are not told.
type Observer interface {
	// Started is called before anything runs. It must not block.
	Started(rec *Record)
	// Ended is called when everything is done, with the build's events.
	Ended(ctx context.Context, rec *Record, events *progress.Reader)
}

// Builder has all builds of one daemon.
type Builder struct {
	cfg Config

	mu   sync.Mutex
	jobs map[string]*job
	// kept has the streams of ended builds, oldest first.
	kept []keptStream
	// changed is closed and replaced when a job is added or removed.
	changed chan struct{}
	// draining refuses new builds.
	draining bool
}

type keptStream struct {
	id     string
	stream *progress.Stream
}

// New returns a Builder without builds.
func New(cfg Config) *Builder {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Span == nil {
		cfg.Span = func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, func(error) {} }
	}
	return &Builder{cfg: cfg, jobs: map[string]*job{}, changed: make(chan struct{})}
}

// Worker describes the builder as it is now.
func (b *Builder) Worker() frontend.WorkerInfo {
	w := b.cfg.Worker
	if b.cfg.Platforms != nil {
		w.Platforms = b.cfg.Platforms()
	}
	return w
}

// Devices returns the devices that steps can be given now.
func (b *Builder) Devices() []cdi.Device { return b.cfg.Devices.List() }

// Platform is the builder's native platform.
func (b *Builder) platform() ocispecs.Platform { return b.cfg.Worker.Platforms[0] }

// Running returns how many builds run.
func (b *Builder) Running() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.jobs)
}

func (b *Builder) add(j *job) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.jobs[j.id]; ok {
		return fmt.Errorf("job ID %s exists: %w", j.id, errdefs.ErrAlreadyExists)
	}
	b.jobs[j.id] = j
	b.wake()
	return nil
}

// makers returns the calls of running builds that asked for the result of a
// graph.
func (b *Builder) makers(def *pb.Definition) []*Call {
	want := head(def)
	if want == "" {
		return nil
	}
	b.mu.Lock()
	var roots []*Call
	for _, j := range b.jobs {
		roots = append(roots, j.root)
	}
	b.mu.Unlock()
	var out []*Call
	for _, root := range roots {
		for _, o := range root.all() {
			if head(o.Definition) == want {
				out = append(out, o.Call)
			}
		}
	}
	return out
}

func (b *Builder) remove(j *job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.jobs, j.id)
	b.wake()
	b.kept = append(b.kept, keptStream{j.id, j.stream})
	if len(b.kept) > keptStreams {
		b.kept = append([]keptStream(nil), b.kept[1:]...)
	}
}

// find waits until look gives something, or the time is over; the error is
// errdefs NotFound with the text clients know.
func find[T any](ctx context.Context, b *Builder, id string, wait time.Duration, look func() (T, bool)) (T, error) {
	var zero T
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		b.mu.Lock()
		v, ok := look()
		changed := b.changed
		b.mu.Unlock()
		if ok {
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return zero, context.Cause(ctx)
			}
			return zero, fmt.Errorf("no such job %s: %w", id, errdefs.ErrNotFound)
		}
	}
}

// Events returns a reader of a build's events, from its beginning. The build
// may start a little later than the call, or have ended a while ago.
func (b *Builder) Events(ctx context.Context, id string) (*progress.Reader, error) {
	return find(ctx, b, id, eventsWait, func() (*progress.Reader, bool) {
		if j, ok := b.jobs[id]; ok {
			return j.stream.Reader(), true
		}
		for i := len(b.kept) - 1; i >= 0; i-- {
			if b.kept[i].id == id {
				return b.kept[i].stream.Reader(), true
			}
		}
		return nil, false
	})
}
