package control

import (
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/session"
)

// Session carries a client's session: HTTP/2 inside the messages.
func (s *Server) Session(stream control.Control_SessionServer) error {
	md, ok := metadata.FromIncomingContext(stream.Context())
	if !ok {
		return fmt.Errorf("session: no metadata: %w", errdefs.ErrInvalidArgument)
	}
	conn := session.NewStreamConn(controlStream{stream}, nil)
	err := s.cfg.Sessions.Serve(stream.Context(), conn, session.ReadOptions(md.Get))
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
