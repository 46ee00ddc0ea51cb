package control

import (
	"context"
	"fmt"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/emptypb"
)

// readOnly refuses everything that changes a content store.
type readOnly struct {
	contentapi.ContentServer
}

var errReadOnly = fmt.Errorf("the builder's content is read-only here: %w", errdefs.ErrPermissionDenied)

// Update is refused.
func (readOnly) Update(context.Context, *contentapi.UpdateRequest) (*contentapi.UpdateResponse, error) {
	return nil, errReadOnly
}

// Delete is refused.
func (readOnly) Delete(context.Context, *contentapi.DeleteContentRequest) (*emptypb.Empty, error) {
	return nil, errReadOnly
}

// Write is refused.
func (readOnly) Write(contentapi.Content_WriteServer) error { return errReadOnly }

// Abort is refused.
func (readOnly) Abort(context.Context, *contentapi.AbortRequest) (*emptypb.Empty, error) {
	return nil, errReadOnly
}
