package control

import (
	"context"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

// ListenBuildHistory streams records of builds and their changes.
func (s *Server) ListenBuildHistory(req *control.BuildHistoryRequest, stream control.Control_ListenBuildHistoryServer) error {
	if err := sendTime(stream); err != nil {
		return err
	}
	return s.cfg.History.Listen(stream.Context(), req, stream.Send)
}

// UpdateBuildHistory pins, deletes or finalizes a record.
func (s *Server) UpdateBuildHistory(ctx context.Context, req *control.UpdateBuildHistoryRequest) (*control.UpdateBuildHistoryResponse, error) {
	return &control.UpdateBuildHistoryResponse{}, s.cfg.History.Update(ctx, req)
}
