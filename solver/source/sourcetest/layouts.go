package sourcetest

import (
	"context"
	"strings"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// layouts serves Client.Layouts.
type layouts struct {
	contentapi.UnimplementedContentServer
	client *Client
}

// blob finds a blob in the layout that the call names.
func (l *layouts) blob(ctx context.Context, d string) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	store, ok := strings.CutPrefix(strings.Join(md["buildkit-attachable-store-id"], ""), "oci:")
	if !ok {
		return "", status.Error(codes.InvalidArgument, "no layout is named")
	}
	v, ok := l.client.Layouts[store][digest.Digest(d)]
	if !ok {
		return "", status.Errorf(codes.NotFound, "no %s in %q", d, store)
	}
	return v, nil
}

// Info implements the content service.
func (l *layouts) Info(ctx context.Context, req *contentapi.InfoRequest) (*contentapi.InfoResponse, error) {
	v, err := l.blob(ctx, req.GetDigest())
	if err != nil {
		return nil, err
	}
	return &contentapi.InfoResponse{Info: &contentapi.Info{Digest: req.GetDigest(), Size: int64(len(v))}}, nil
}

// Read implements the content service.
func (l *layouts) Read(req *contentapi.ReadContentRequest, stream contentapi.Content_ReadServer) error {
	v, err := l.blob(stream.Context(), req.GetDigest())
	if err != nil {
		return err
	}
	rest := v[min(req.GetOffset(), int64(len(v))):]
	if n := req.GetSize(); n > 0 {
		rest = rest[:min(n, int64(len(rest)))]
	}
	at := req.GetOffset()
	for len(rest) > 0 {
		n := min(len(rest), 1<<16)
		if err := stream.Send(&contentapi.ReadContentResponse{Offset: at, Data: []byte(rest[:n])}); err != nil {
			return err
		}
		rest, at = rest[n:], at+int64(n)
	}
	return nil
}
