package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/pb/control"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/worker"
)

// ListWorkers describes the builder, which is one worker to clients.
func (s *Server) ListWorkers(_ context.Context, req *control.ListWorkersRequest) (*control.ListWorkersResponse, error) {
	match, err := filters.ParseAll(req.GetFilter()...)
	if err != nil {
		return nil, fmt.Errorf("worker filter: %w", errors.Join(err, errdefs.ErrInvalidArgument))
	}
	w := s.cfg.Builder.Worker()
	adaptor := filters.AdapterFunc(func(field []string) (string, bool) {
		switch {
		case len(field) == 1 && field[0] == "id":
			return w.ID, true
		case len(field) > 1 && field[0] == "labels":
			v, ok := w.Labels[joinField(field[1:])]
			return v, ok
		}
		return "", false
	})
	out := &control.ListWorkersResponse{}
	if !match.Match(adaptor) {
		return out, nil
	}
	rec := &worker.WorkerRecord{ID: w.ID, Labels: w.Labels, BuildkitVersion: s.version()}
	for _, p := range w.Platforms {
		rec.Platforms = append(rec.Platforms, &pb.Platform{
			OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
		})
	}
	var policies []GCPolicy
	if s.cfg.GCPolicies != nil {
		policies = s.cfg.GCPolicies()
	}
	for _, p := range policies {
		rec.GCPolicy = append(rec.GCPolicy, &worker.GCPolicy{
			All: p.All, KeepDuration: int64(p.KeepDuration), Filters: p.Filters,
			ReservedSpace: p.ReservedSpace, MaxUsedSpace: p.MaxUsedSpace, MinFreeSpace: p.MinFreeSpace,
		})
	}
	for _, d := range s.cfg.Builder.Devices() {
		rec.CDIDevices = append(rec.CDIDevices, &worker.CDIDevice{Name: d.Name, AutoAllow: d.AutoAllow, Annotations: d.Annotations})
	}
	out.Record = append(out.Record, rec)
	return out, nil
}

// joinField puts a label name together again: it has dots of its own.
func joinField(parts []string) string {
	name := parts[0]
	for _, p := range parts[1:] {
		name += "." + p
	}
	return name
}

func (s *Server) version() *worker.BuildkitVersion {
	v := s.cfg.Version
	return &worker.BuildkitVersion{Package: v.Package, Version: v.Version, Revision: v.Revision, DockerfileVersion: v.Dockerfile}
}

// Info tells the daemon's version.
func (s *Server) Info(context.Context, *control.InfoRequest) (*control.InfoResponse, error) {
	return &control.InfoResponse{BuildkitVersion: s.version()}, nil
}
