package hijack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/session"
)

// protocol is what connections are upgraded to.
const protocol = "h2c"

// switching is the answer to an upgrade; clients compare nothing but the
// status.
const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

// answerWithin bounds the writing of an answer to a client that does not read.
const answerWithin = 30 * time.Second

// preface is the line by which HTTP/2 begins, and which the HTTP/1 server takes
// for a request.
const preface = "PRI * HTTP/2.0\r\n\r\n"

// Config is what the endpoints need.
type Config struct {
	Sessions *session.Manager
	// GRPC gets the connections of gRPC clients.
	GRPC *Listener
}

// Server has the endpoints.
type Server struct{ cfg Config }

// New returns a Server.
func New(cfg Config) *Server { return &Server{cfg: cfg} }

// Register adds the endpoints.
func (s *Server) Register(m *route.Mux) {
	m.Handle(http.MethodPost, "/grpc", s.grpc)
	m.Handle(http.MethodPost, "/session", s.session)
}

// check refuses requests that do not ask for the one upgrade there is.
func check(r *http.Request, status int) error {
	switch proto := r.Header.Get("Upgrade"); {
	case proto == "":
		return &route.StatusError{Status: status, Err: errors.New("no upgrade proto in request")}
	case !strings.EqualFold(proto, protocol):
		return &route.StatusError{Status: status, Err: fmt.Errorf("protocol %s not supported", proto)}
	}
	return nil
}

// take takes the connection from the HTTP server and answers the upgrade.
func take(w http.ResponseWriter, answer string) (net.Conn, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over connection: %w", err)
	}
	// Deadlines were those of the request.
	err = conn.SetDeadline(time.Time{})
	if err == nil && answer != "" {
		if err = conn.SetWriteDeadline(time.Now().Add(answerWithin)); err == nil {
			_, err = io.WriteString(conn, answer)
		}
		err = errors.Join(err, conn.SetWriteDeadline(time.Time{}))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("answer upgrade: %w", err)
	}
	return &early{Conn: conn, from: rest(buffered.Reader, conn)}, nil
}

// rest is what the HTTP server has read already, then the connection.
func rest(buffered *bufio.Reader, conn net.Conn) io.Reader {
	data, err := buffered.Peek(buffered.Buffered())
	if err != nil || len(data) == 0 {
		return conn
	}
	return io.MultiReader(bytes.NewReader(bytes.Clone(data)), conn)
}

// early is a connection of which some bytes were read before.
type early struct {
	net.Conn
	from io.Reader
}

// Read returns the early bytes first.
func (c *early) Read(p []byte) (int, error) { return c.from.Read(p) }

// CloseWrite ends one direction, where the connection can.
func (c *early) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// grpc makes the connection one of the gRPC server.
func (s *Server) grpc(w http.ResponseWriter, r *http.Request, _ string) error {
	if err := check(r, http.StatusInternalServerError); err != nil {
		return err
	}
	conn, err := take(w, switching)
	if err != nil {
		return err
	}
	s.hand(r.Context(), conn)
	return nil
}

// hand gives a connection away, or closes it.
func (s *Server) hand(ctx context.Context, conn net.Conn) {
	if err := s.cfg.GRPC.Hand(context.WithoutCancel(ctx), conn); err != nil {
		log.G(ctx).WithError(err).Debug("gRPC client of the Docker API is turned away")
		conn.Close()
	}
}

// session makes the connection a client's session and ends with it.
func (s *Server) session(w http.ResponseWriter, r *http.Request, _ string) error {
	if err := check(r, http.StatusBadRequest); err != nil {
		return err
	}
	opt := session.ReadOptions(r.Header.Values)
	if opt.ID == "" {
		return fmt.Errorf("a session needs an id: %w", errdefs.ErrInvalidArgument)
	}
	if s.cfg.Sessions.Has(opt.ID) {
		return &route.StatusError{Status: http.StatusBadRequest, Err: fmt.Errorf("session %s already exists", opt.ID)}
	}
	conn, err := take(w, switching)
	if err != nil {
		return err
	}
	if err := s.cfg.Sessions.Serve(r.Context(), conn, opt); err != nil {
		log.G(r.Context()).WithError(err).Debugf("session %s of the Docker API", opt.ID)
	}
	return nil
}

// Direct serves HTTP/2 connections without an upgrade, and everything else by
// next.
func (s *Server) Direct(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "PRI" || r.ProtoMajor != 2 || r.URL.Path != "*" || len(r.Header) > 0 {
			next.ServeHTTP(w, r)
			return
		}
		conn, err := take(w, "")
		if err != nil {
			log.G(r.Context()).WithError(err).Debug("HTTP/2 client of the Docker API")
			return
		}
		whole := io.MultiReader(strings.NewReader(preface), conn)
		s.hand(r.Context(), &early{Conn: conn, from: whole})
	})
}

// Secured serves connections whose clients agreed on HTTP/2 in TLS; it has the
// form that http.Server.TLSNextProto wants. It returns when the connection is
// closed: the HTTP server closes it then.
func (s *Server) Secured(_ *http.Server, conn *tls.Conn, h http.Handler) {
	// The handler that comes along knows the server's context.
	based, ok := h.(interface{ BaseContext() context.Context })
	if !ok {
		return
	}
	gone := make(chan struct{})
	watched := &closing{Conn: conn, closed: sync.OnceFunc(func() { close(gone) })}
	if err := s.cfg.GRPC.Hand(based.BaseContext(), watched); err != nil {
		return
	}
	<-gone
}

// closing tells when a connection is closed.
type closing struct {
	net.Conn
	closed func()
}

// Close closes the connection.
func (c *closing) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
