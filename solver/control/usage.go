package control

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/ref"
)

// DiskUsage lists what the cache holds.
func (s *Server) DiskUsage(ctx context.Context, req *control.DiskUsageRequest) (*control.DiskUsageResponse, error) {
	list, err := s.cfg.Refs.Usage(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	out := &control.DiskUsageResponse{}
	for _, u := range list {
		if age := time.Duration(req.GetAgeLimit()); age > 0 && u.LastUsedAt != nil && time.Since(*u.LastUsedAt) < age {
			continue
		}
		out.Record = append(out.Record, usageRecord(u))
	}
	return out, nil
}

func usageRecord(u ref.Usage) *control.UsageRecord {
	var lastUsed *timestamppb.Timestamp
	if u.LastUsedAt != nil {
		lastUsed = timestamppb.New(*u.LastUsedAt)
	}
	return &control.UsageRecord{
		ID: u.ID, Mutable: u.Mutable, InUse: u.InUse, Size: u.Size, CreatedAt: timestamppb.New(u.CreatedAt), LastUsedAt: lastUsed,
		UsageCount: u.UsageCount, Description: u.Description, RecordType: u.RecordType, Shared: u.Shared, Parents: u.Parents,
	}
}

// Prune removes what the request lets it, and tells of each record.
func (s *Server) Prune(req *control.PruneRequest, stream control.Control_PruneServer) error {
	var failed error
	err := s.cfg.Refs.Prune(stream.Context(), ref.PruneOptions{
		All: req.GetAll(), Filters: req.GetFilter(), KeepDuration: time.Duration(req.GetKeepDuration()),
		ReservedSpace: req.GetReservedSpace(), MaxUsedSpace: req.GetMaxUsedSpace(), MinFreeSpace: req.GetMinFreeSpace(),
	}, func(u ref.Usage) {
		if failed == nil {
			failed = stream.Send(usageRecord(u))
		}
	})
	if err == nil {
		err = failed
	}
	if err == nil && s.cfg.Pruned != nil {
		everything := req.GetAll() && len(req.GetFilter()) == 0 && req.GetKeepDuration() == 0 &&
			req.GetReservedSpace() == 0 && req.GetMaxUsedSpace() == 0 && req.GetMinFreeSpace() == 0
		err = s.cfg.Pruned(stream.Context(), everything)
	}
	return err
}
