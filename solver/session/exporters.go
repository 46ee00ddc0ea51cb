package session

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/exporter"
)

// maxExporters bounds what a client may choose at the end of a build.
const maxExporters = 64

// FindExporters tells a client of a result and asks what to make of it: the
// result's metadata, and the ids by which the client can look into its refs. A
// client that does not offer the service chooses nothing.
func (m *Manager) FindExporters(ctx context.Context, id string, metadata map[string][]byte, refs []string) ([]*exporter.ExporterRequest, error) {
	var list []*exporter.ExporterRequest
	err := m.askExporter(ctx, id, func(ctx context.Context, c exporter.ExporterClient) error {
		resp, err := c.FindExporters(ctx, &exporter.FindExportersRequest{Metadata: metadata, Refs: refs})
		list = resp.GetExporters()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask the client for exporters: %w", err)
	}
	if len(list) > maxExporters {
		return nil, fmt.Errorf("the client chose %d exporters, at most %d are allowed: %w", len(list), maxExporters, errdefs.ErrInvalidArgument)
	}
	return list, nil
}

// FinalizeExport tells a client what all exporters of a build answered. Its
// refusal fails the build.
func (m *Manager) FinalizeExport(ctx context.Context, id string, response map[string]string) error {
	err := m.askExporter(ctx, id, func(ctx context.Context, c exporter.ExporterClient) error {
		_, err := c.FinalizeExport(ctx, &exporter.FinalizeExportRequest{ExporterResponse: response})
		return err
	})
	if err != nil {
		return fmt.Errorf("client failed to finalize the export: %w", err)
	}
	return nil
}

// askExporter calls fn with a client's exporter service, if it has one.
func (m *Manager) askExporter(ctx context.Context, id string, fn func(context.Context, exporter.ExporterClient) error) error {
	return m.Any(ctx, []string{id}, func(ctx context.Context, s *Session) error {
		ctx, cancel := s.With(ctx)
		defer cancel()
		err := fn(ctx, exporter.NewExporterClient(s.Conn()))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c := status.Code(err); c == codes.Unavailable || c == codes.Unimplemented {
			return nil
		}
		return err
	})
}
