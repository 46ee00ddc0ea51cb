package session

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/upload"
)

// Names of request metadata that say which stream is wanted.
const (
	keyUploadPath = "urlpath"
	keyUploadHost = "urlhost"
)

// Upload opens a stream that a client holds ready under a host and a path,
// each of them once. The caller closes it; that it is not there shows at the
// first Read.
func (s *Session) Upload(ctx context.Context, host, path string) (io.ReadCloser, error) {
	ctx, cancel := s.With(ctx)
	md := metadata.MD{keyUploadHost: {host}, keyUploadPath: {path}}
	stream, err := upload.NewUploadClient(s.Conn()).Pull(metadata.NewOutgoingContext(ctx, md))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ask client for upload %s: %w", path, err)
	}
	return &uploadReader{stream: stream, path: path, cancel: cancel}, nil
}

// uploadReader reads the messages of an upload.
type uploadReader struct {
	stream grpc.BidiStreamingClient[upload.BytesMessage, upload.BytesMessage]
	path   string
	rest   []byte
	cancel context.CancelFunc
}

// Read returns bytes of the current message, receiving the next when needed.
func (r *uploadReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		m, err := r.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return 0, io.EOF
		case status.Code(err) == codes.Unimplemented, status.Code(err) == codes.NotFound:
			return 0, fmt.Errorf("the client has no upload %s: %w", r.path, errdefs.ErrNotFound)
		case err != nil:
			return 0, fmt.Errorf("receive upload %s: %w", r.path, err)
		}
		r.rest = m.GetData()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the stream.
func (r *uploadReader) Close() error {
	r.cancel()
	return nil
}
