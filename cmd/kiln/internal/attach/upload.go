package attach

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/pb/upload"
)

// uploadChunk is how many bytes go into one message.
const uploadChunk = 1 << 20

// Upload offers one stream, once.
type Upload struct {
	upload.UnimplementedUploadServer
	id   string
	mu   sync.Mutex
	data io.Reader
}

// NewUpload offers data under an id.
func NewUpload(id string, data io.Reader) *Upload { return &Upload{id: id, data: data} }

// URL is what the daemon is told to fetch.
func (u *Upload) URL() string { return "http://buildkit-session/" + u.id }

// Register adds the service.
func (u *Upload) Register(s *grpc.Server) { upload.RegisterUploadServer(s, u) }

// Pull sends the stream.
func (u *Upload) Pull(stream upload.Upload_PullServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	path := strings.TrimPrefix(strings.Join(md.Get("urlpath"), ""), "/")
	u.mu.Lock()
	data := u.data
	if path == u.id {
		u.data = nil
	}
	u.mu.Unlock()
	if path != u.id || data == nil {
		return fmt.Errorf("no upload %q, or it has been fetched: %w", path, errdefs.ErrNotFound)
	}
	buf := make([]byte, uploadChunk)
	for {
		n, err := io.ReadFull(data, buf)
		if n > 0 {
			if err := stream.Send(&upload.BytesMessage{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what is to be uploaded: %w", err)
		}
	}
}
