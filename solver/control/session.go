package control

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/session"
)

// Metadata of a session, lower case as on the wire.
const (
	headerID        = "x-docker-expose-session-uuid"
	headerSharedKey = "x-docker-expose-session-sharedkey"
	headerMethod    = "x-docker-expose-session-grpc-method"
	headerHealth    = "x-buildkit-session-health-custom-timeout"
)

// minHealthTimeout is the least health timeout a client may ask for.
const minHealthTimeout = time.Second

// SessionOptions reads a session's description from metadata or headers;
// values returns all values of a lower-case name.
func SessionOptions(values func(name string) []string) session.Options {
	first := func(name string) string {
		if v := values(name); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	opt := session.Options{ID: first(headerID), SharedKey: first(headerSharedKey), Methods: values(headerMethod)}
	if ms, err := strconv.ParseInt(first(headerHealth), 10, 32); err == nil {
		if d := time.Duration(ms) * time.Millisecond; d >= minHealthTimeout {
			opt.HealthTimeout = d
		}
	}
	return opt
}

// Session carries a client's session: HTTP/2 inside the messages.
func (s *Server) Session(stream control.Control_SessionServer) error {
	md, ok := metadata.FromIncomingContext(stream.Context())
	if !ok {
		return fmt.Errorf("session: no metadata: %w", errdefs.ErrInvalidArgument)
	}
	conn := session.NewStreamConn(controlStream{stream}, nil)
	err := s.cfg.Sessions.Serve(stream.Context(), conn, SessionOptions(md.Get))
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// controlStream carries bytes in Control's messages.
type controlStream struct {
	stream control.Control_SessionServer
}

// SendBytes sends one message.
func (s controlStream) SendBytes(b []byte) error {
	return s.stream.Send(&control.BytesMessage{Data: b})
}

// RecvBytes receives one message.
func (s controlStream) RecvBytes() ([]byte, error) {
	m, err := s.stream.Recv()
	return m.GetData(), err
}
