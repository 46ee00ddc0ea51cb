package dockerapi

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/kilnbuild/kiln/dockerapi/build"
	"github.com/kilnbuild/kiln/dockerapi/hijack"
	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/dockerapi/system"
)

// headersWithin is how long a client may take to send the headers of a request;
// idleWithin how long a connection may wait for the next one.
const (
	headersWithin = 30 * time.Second
	idleWithin    = 3 * time.Minute
)

// maxHeaders bounds the headers of a request, in bytes: credentials of many
// registries are in one.
const maxHeaders = 2 << 20

// Part is one part of the API.
type Part interface {
	// Register adds the part's endpoints.
	Register(m *route.Mux)
}

// Config has the parts.
type Config struct {
	Build  build.Config
	System system.Config
	// Hijack takes connections over for gRPC and for sessions.
	Hijack hijack.Config
	// More are parts that were made elsewhere.
	More []Part
}

// Server answers the Engine API.
type Server struct {
	http *http.Server
	grpc *hijack.Listener
}

// New puts the parts together. Requests end with ctx.
func New(ctx context.Context, cfg Config) (*Server, error) {
	builds, err := build.New(cfg.Build)
	if err != nil {
		return nil, err
	}
	upgrades := hijack.New(cfg.Hijack)
	mux := route.NewMux("Docker/" + cfg.System.Version + " (linux)")
	for _, part := range append([]Part{system.New(cfg.System), builds, upgrades}, cfg.More...) {
		part.Register(mux)
	}
	s := &Server{grpc: cfg.Hijack.GRPC}
	s.http = &http.Server{
		Handler:           upgrades.Direct(mux),
		ReadHeaderTimeout: headersWithin, IdleTimeout: idleWithin, MaxHeaderBytes: maxHeaders,
		BaseContext:  func(net.Listener) context.Context { return ctx },
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){"h2": upgrades.Secured},
	}
	return s, nil
}

// GRPC is where the gRPC server gets the connections of clients that came
// through this API.
func (s *Server) GRPC() net.Listener { return s.grpc }

// Serve answers on a listener until Shutdown; connections over TLS have shaken
// hands. It may be called for several.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown takes no new requests and waits for those that run, until ctx ends:
// then it breaks them off. Connections that were taken over are not waited for.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}
