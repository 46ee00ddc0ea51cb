package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/dockerapi/upload"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/ref"
	"github.com/kilnbuild/kiln/solver/session"
)

// errCancelled is why a build ends that somebody asked to be cancelled.
var errCancelled = errors.New("Build cancelled") //nolint:staticcheck // clients know it like this

// Config is what the endpoints need.
type Config struct {
	Builder  *build.Builder
	Sessions *session.Manager
	// Refs is the build cache.
	Refs *ref.Store
	// Pruned is told after a prune, so that the cache forgets what is gone and
	// disk space is freed. May be nil.
	Pruned func(ctx context.Context) error
	// Event, optional, is told of what happened, for listeners of events.
	Event func(action string, attributes map[string]string)
	// Root is a directory of the server's own, for contexts.
	Root string
	// HostGateway is the address of this machine for steps; empty if it is not
	// known.
	HostGateway string
	// Limits of contexts.
	Limits upload.Limits
}

// Server has the endpoints. Use New.
type Server struct {
	cfg     Config
	running running
	meeting meeting
}

// New returns a Server. What an earlier process left in its directory goes.
func New(cfg Config) (*Server, error) {
	if err := os.RemoveAll(cfg.Root); err != nil {
		return nil, fmt.Errorf("empty directory of contexts: %w", err)
	}
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of contexts: %w", err)
	}
	return &Server{cfg: cfg}, nil
}

// Register adds the endpoints.
func (s *Server) Register(m *route.Mux) {
	m.Handle(http.MethodPost, "/build", s.build)
	m.Handle(http.MethodPost, "/build/cancel", s.cancel)
	m.Handle(http.MethodPost, "/build/prune", s.prune)
}

// build answers POST /build.
func (s *Server) build(w http.ResponseWriter, r *http.Request, _ string) error {
	p, err := readParameters(r, s.cfg.HostGateway)
	if err != nil {
		return s.drained(w, r, err)
	}
	if p.upload {
		return s.bring(w, r, p)
	}
	known := map[string]route.Credentials{}
	// What cannot be read counts as none.
	_ = route.AuthHeader(r, "X-Registry-Config", &known)
	ctx, end, err := s.running.begin(r.Context(), p.id)
	if err != nil {
		return s.drained(w, r, err)
	}
	defer end()
	j := &job{server: s, parameters: p}
	files, err := s.context(ctx, w, r, p)
	if err != nil {
		return s.drained(w, r, err)
	}
	if files != nil {
		j.context = files
		defer func() { _ = files.Close() }()
	}
	v, err := openVisitor(ctx, s.cfg.Sessions, files, known)
	if err != nil {
		return err
	}
	defer v.Close()
	j.visitor = v.ID
	stream := route.NewStream(w)
	if p.version == 2 {
		return j.traced(ctx, stream)
	}
	return j.classic(ctx, stream)
}

// context takes in the context that comes with a request, or with another one;
// nil if it is elsewhere.
func (s *Server) context(ctx context.Context, w http.ResponseWriter, r *http.Request, p *parameters) (*upload.Context, error) {
	switch {
	case p.remote == remoteUpload && p.version == 2:
		return s.meeting.wait(ctx, p.id)
	case p.remote == remoteSession && p.version == 2:
		if p.session == "" {
			return nil, fmt.Errorf("remote=%s needs a session: %w", remoteSession, errdefs.ErrInvalidArgument)
		}
		return nil, nil
	case p.remote != "":
		return nil, nil
	}
	return s.receive(ctx, w, r)
}

// receive takes in a body.
func (s *Server) receive(ctx context.Context, w http.ResponseWriter, r *http.Request) (*upload.Context, error) {
	body := route.NewBodyReader(w, r)
	defer body.Done()
	files, err := upload.Receive(ctx, body, s.cfg.Root, s.cfg.Limits)
	if cause := body.Err(); cause != nil && err != nil {
		// What the archive looks like to end there says nothing.
		err = fmt.Errorf("read build context: %w", cause)
	}
	return files, err
}

// maxDrained bounds what is read of a body that nobody wants.
const maxDrained = 32 << 20

// drained reads on for a while before an error is answered: clients that are
// still sending would not see it.
func (s *Server) drained(w http.ResponseWriter, r *http.Request, err error) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
	return err
}

// contextsDir is the directory of contexts below that of the daemon.
const contextsDir = "dockerapi"

// ContextsDir returns where contexts are spooled below the daemon's root.
func ContextsDir(root string) string { return filepath.Join(root, contextsDir) }
