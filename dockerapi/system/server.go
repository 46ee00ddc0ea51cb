package system

import (
	"context"
	"net/http"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/dockerapi/image"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Config is what is told about the daemon. Members that are not set are not
// told, or empty.
type Config struct {
	// Version of the daemon and the revision of its source.
	Version, Revision string
	// ID identifies the daemon for as long as its state lives.
	ID string
	// Root is where the state is.
	Root string
	// Snapshotter is the name of the one that images are unpacked to.
	Snapshotter string
	// Containerd is the address of containerd, Namespace where the images are.
	Containerd, Namespace string
	// Runtime runs the steps of builds.
	Runtime string
	// CDISpecDirs have descriptions of devices.
	CDISpecDirs []string
	// Registries are what is special about registries, by host.
	Registries map[string]Registry
	// Images lists all images.
	Images func(ctx context.Context, v route.Version) ([]*image.Summary, error)
	// CountImages is how many there are.
	CountImages func(context.Context) (int, error)
	// ImagesSize is the size of everything that images hold, in bytes.
	ImagesSize func(context.Context) (int64, error)
	// Refs is the build cache.
	Refs *ref.Store
	// Events tells what happens.
	Events *event.Hub
	// SignIn finds out whether a registry accepts credentials.
	SignIn func(context.Context, route.Credentials) error
}

// Registry is what is special about one.
type Registry struct {
	Mirrors  []string
	Insecure bool
}

// Server has the endpoints.
type Server struct{ cfg Config }

// New returns a Server.
func New(cfg Config) *Server {
	if cfg.Events == nil {
		cfg.Events = event.NewHub(nil)
	}
	return &Server{cfg: cfg}
}

// Register adds the endpoints. What is outside a builder's business comes last,
// as its patterns are wide.
func (s *Server) Register(m *route.Mux) {
	m.Handle(http.MethodGet, "/_ping", ping)
	m.Handle(http.MethodHead, "/_ping", ping)
	m.Handle(http.MethodGet, "/version", s.version)
	m.Handle(http.MethodGet, "/info", s.info)
	m.Handle(http.MethodPost, "/auth", s.auth)
	m.Handle(http.MethodGet, "/events", s.events)
	m.Handle(http.MethodGet, "/system/df", s.usage)
	registerAbsent(m)
}

// auth answers POST /auth.
func (s *Server) auth(w http.ResponseWriter, r *http.Request, _ string) error {
	var c route.Credentials
	if err := route.Body(w, r, &c); err != nil {
		return err
	}
	if s.cfg.SignIn == nil {
		return refused("sign in at registries")
	}
	if err := s.cfg.SignIn(r.Context(), c); err != nil {
		return err
	}
	return route.WriteJSON(w, http.StatusOK, struct{ Status, IdentityToken string }{Status: "Login Succeeded"})
}
