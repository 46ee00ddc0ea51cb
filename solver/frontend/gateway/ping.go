package gateway

import (
	"context"
	"slices"

	"github.com/kilnbuild/kiln/solver/llb"
	"github.com/kilnbuild/kiln/solver/pb/apicaps"
	"github.com/kilnbuild/kiln/solver/pb/gateway"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/pb/worker"
)

// capabilities of this side of the protocol, sorted; the ids are wire facts.
var capabilities = []string{
	"frontend.caps",
	"frontend.inputs",
	"gateway.evaluate",
	"gateway.exec",
	"gateway.exec.extrahosts",
	"gateway.exec.filesystem",
	"gateway.exec.secretenv",
	"gateway.exec.signals",
	"gateway.solve.evaluate",
	"gateway.solve.metadata",
	"gateway.warnings",
	"importcaches",
	"proto.refarray",
	"readdir",
	"readfile",
	"reference.attestations",
	"reference.output",
	"resolveimage",
	"resolveimage.resolvemode",
	"return",
	"returnmap",
	"solve.base",
	"solve.inlinereturn",
	"source.metaresolver",
	"source.metaresolver.http.checksumrequest",
	"source.metaresolver.image.attestations",
	"statfile",
}

// Ping tells a frontend what it may use.
func (s *Session) Ping(context.Context, *gateway.PingRequest) (*gateway.PongResponse, error) {
	info := s.bridge.Info()
	out := &gateway.PongResponse{LLBCaps: llb.Caps()}
	for _, c := range out.LLBCaps {
		c.Enabled = info.LLBCaps[c.GetID()]
	}
	for _, id := range capabilities {
		out.FrontendAPICaps = append(out.FrontendAPICaps, &apicaps.APICap{ID: id, Enabled: true})
	}
	for _, w := range info.Workers {
		rec := &worker.WorkerRecord{ID: w.ID, Labels: w.Labels}
		for _, p := range w.Platforms {
			rec.Platforms = append(rec.Platforms, &pb.Platform{
				OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
				OSVersion: p.OSVersion, OSFeatures: slices.Clone(p.OSFeatures),
			})
		}
		out.Workers = append(out.Workers, rec)
	}
	return out, nil
}
