package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/statuspb"
)

// Versions of behaviour that clients may ask for.
var compatibility = []int64{solver.Compatibility10, solver.Compatibility20, solver.Compatibility30}

// Solve runs a build and returns when it is done. Its end is the build's end.
func (s *Server) Solve(ctx context.Context, req *control.SolveRequest) (*control.SolveResponse, error) {
	r, err := toRequest(req)
	if err != nil {
		return nil, err
	}
	resp, err := s.cfg.Builder.Solve(ctx, r)
	if err != nil {
		return nil, err
	}
	return &control.SolveResponse{ExporterResponse: resp.Values}, nil
}

func toRequest(req *control.SolveRequest) (*build.Request, error) {
	if err := checkVersion(req.GetCompatibilityVersion()); err != nil {
		return nil, err
	}
	r := &build.Request{
		ID: req.GetRef(), SessionID: req.GetSession(), Definition: req.GetDefinition(), Frontend: req.GetFrontend(),
		Opts: req.GetFrontendAttrs(), Inputs: req.GetFrontendInputs(),
		Entitlements: req.GetEntitlements(), Internal: req.GetInternal(),
		SourcePolicy: req.GetSourcePolicy(), PolicySession: req.GetSourcePolicySession(),
		CompatibilityVersion: int(req.GetCompatibilityVersion()), ProxyNetwork: req.GetProxyNetwork(), SessionExporter: req.GetEnableSessionExporter(),
	}
	for _, e := range req.GetExporters() {
		r.Exporters = append(r.Exporters, build.ExporterRequest{Type: e.GetType(), Attrs: e.GetAttrs()})
	}
	// Clients send the first exporter twice, for older daemons.
	if len(r.Exporters) == 0 && req.GetExporterDeprecated() != "" {
		r.Exporters = []build.ExporterRequest{{Type: req.GetExporterDeprecated(), Attrs: req.GetExporterAttrsDeprecated()}}
	}
	c := req.GetCache()
	for _, e := range c.GetImports() {
		r.CacheImports = append(r.CacheImports, build.CacheRequest{Type: e.GetType(), Attrs: e.GetAttrs()})
	}
	for _, name := range c.GetImportRefsDeprecated() {
		r.CacheImports = append(r.CacheImports, build.CacheRequest{Type: "registry", Attrs: map[string]string{"ref": name}})
	}
	var err error
	r.CacheExports, err = cacheExports(c)
	return r, err
}

func checkVersion(v int64) error {
	newest := compatibility[len(compatibility)-1]
	switch {
	case v == 0 || slices.Contains(compatibility, v):
		return nil
	case v > newest:
		return fmt.Errorf("unsupported compatibility-version %d: upgrade buildkit (max supported: %d): %w", v, newest, errdefs.ErrInvalidArgument)
	default:
		return fmt.Errorf("unsupported compatibility-version %d (supported: %v): %w", v, compatibility, errdefs.ErrInvalidArgument)
	}
}

// cacheExports reads the exports in both forms and refuses duplicates: a
// second inline export is dropped, others are errors.
func cacheExports(c *control.CacheOptions) ([]build.CacheRequest, error) {
	all := c.GetExports()
	if name := c.GetExportRefDeprecated(); name != "" {
		attrs := maps.Clone(c.GetExportAttrsDeprecated())
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs["ref"] = name
		all = append(all, &control.CacheOptionsEntry{Type: "registry", Attrs: attrs})
	}
	var out []build.CacheRequest
	var twice []string
	seen := map[string]bool{}
	for _, e := range all {
		key := e.GetType()
		switch e.GetType() {
		case "inline":
		case "registry":
			key += " " + e.GetAttrs()["ref"]
		default:
			for _, k := range slices.Sorted(maps.Keys(e.GetAttrs())) {
				key += " " + k + "=" + e.GetAttrs()[k]
			}
		}
		if seen[key] {
			if e.GetType() != "inline" {
				twice = append(twice, key)
			}
			continue
		}
		seen[key] = true
		out = append(out, build.CacheRequest{Type: e.GetType(), Attrs: e.GetAttrs()})
	}
	if len(twice) > 0 {
		return nil, fmt.Errorf("duplicate cache exports [%s]: %w", strings.Join(twice, ", "), errdefs.ErrInvalidArgument)
	}
	return out, nil
}

// Status streams the events of a build, running or ended.
func (s *Server) Status(req *control.StatusRequest, stream control.Control_StatusServer) error {
	if err := sendTime(stream); err != nil {
		return err
	}
	ctx := stream.Context()
	err := s.cfg.History.Replay(ctx, req.GetRef(), stream.Send)
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	events, err := s.cfg.Builder.Events(ctx, req.GetRef())
	if err != nil {
		return err
	}
	for {
		batch, err := events.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(statuspb.FromBatch(batch)); err != nil {
			return err
		}
	}
}
