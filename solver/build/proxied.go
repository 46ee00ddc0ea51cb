package build

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
	"github.com/kilnbuild/kiln/solver/policy"
)

// proxied reports whether steps of the build that use the network are behind
// the recording proxy.
func (j *job) proxied() bool { return j.builder.cfg.ProxyNetwork || j.request.ProxyNetwork }

// gate returns what decides about the requests of the steps of a graph: the
// same policies as about its sources. Nil if there is nothing to decide, or no
// proxy to ask.
func (j *job) gate(more []*spb.Policy) (executor.Gate, error) {
	if !j.proxied() {
		return nil, nil
	}
	set, err := j.policies.With(more...)
	if err != nil || !j.decides(set) {
		return nil, err
	}
	return &policyGate{job: j, set: set, own: len(more) == 0}, nil
}

// policyGate has policies decide about requests of processes as they do about
// sources.
type policyGate struct {
	job *job
	set *policy.Set
	own bool
}

// Admit returns the URL that the policies make of a request's.
func (g *policyGate) Admit(ctx context.Context, _, url string) (string, error) {
	out, err := g.job.allow(ctx, g.set, g.own, &pb.SourceOp{Identifier: url}, nil)
	if err != nil {
		return "", fmt.Errorf("source policy for %s: %w", url, err)
	}
	if len(out.GetAttrs()) > 0 {
		return "", fmt.Errorf("source policy gives %s attributes, which requests have none of: %w", url, errdefs.ErrPermissionDenied)
	}
	return out.GetIdentifier(), nil
}

// noteTraffic keeps what a step asked of the recorded network; a step that runs
// again may have done with what it asked for the first time. The lock is held.
func (j *job) noteTraffic(ev *solver.TrafficEvent) {
	if j.traffic == nil {
		j.traffic = map[digest.Digest]*solver.Traffic{}
	}
	old, all := j.traffic[ev.Vertex], ev.Traffic
	if old != nil {
		all = solver.Traffic{
			Requests:   slices.Concat(old.Requests, all.Requests),
			Materials:  slices.Concat(old.Materials, all.Materials),
			Incomplete: slices.Concat(old.Incomplete, all.Incomplete),
		}
	}
	j.traffic[ev.Vertex] = &all
}
