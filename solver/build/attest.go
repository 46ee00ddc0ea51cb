package build

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Attester adds statements about results before they are exported.
type Attester interface {
	// Check refuses a request before anything is built for it.
	Check(req *Request) error
	// Attest adds to b.Result.Attestations, or calls b.Add. The result has been
	// evaluated; what an attester adds is evaluated afterwards.
	Attest(ctx context.Context, b *Built) error
}

// Built is an evaluated result of a build that still runs.
type Built struct {
	Request *Request
	Started time.Time
	Result  *frontend.Result
	// Platforms has the keys of the result's refs in order, or the platform
	// of a single one.
	Platforms []export.Platform
	// Bridge solves more for the build. What goes through it is no part of how
	// the result came about.
	Bridge frontend.Bridge

	job   *job
	added map[string][]export.Attestation
}

// Add adds a statement of the builder's own about one platform.
func (b *Built) Add(platform string, a export.Attestation) {
	if b.added == nil {
		b.added = map[string][]export.Attestation{}
	}
	b.added[platform] = append(b.added[platform], a)
}

// Ref returns the result for a platform; nil for an empty file system.
func (b *Built) Ref(platform string) frontend.Ref {
	if b.Result.Refs != nil {
		return b.Result.Refs[platform]
	}
	return b.Result.Ref
}

// Now is the time of the builder's clock.
func (b *Built) Now() time.Time { return b.job.builder.cfg.Now() }

// CompatibilityVersion is that of what the build makes.
func (b *Built) CompatibilityVersion() int {
	return cmp.Or(b.Request.CompatibilityVersion, solver.CompatibilityNow)
}

// ResultIDs returns the ids of the results of vertices, as far as they are
// known.
func (b *Built) ResultIDs(ctx context.Context) map[digest.Digest]string {
	return b.job.graph.ResultIDs(ctx)
}

// Stack returns the ids of the results that a ref's file system is stacked of,
// base first.
func (b *Built) Stack(ctx context.Context, r frontend.Ref) ([]string, error) {
	held, err := hold(ctx, r)
	if err != nil || held == nil {
		return nil, err
	}
	defer func() { _ = held.Release(context.WithoutCancel(ctx)) }()
	var ids []string
	for _, part := range held.Chain() {
		ids = append(ids, part.ID())
	}
	return ids, nil
}

// Origin tells where a ref of this build came from; nil if nobody knows.
func (b *Built) Origin(r frontend.Ref) *Origin {
	if lazy, ok := r.(*lazyRef); ok && lazy != nil {
		return lazy.origin
	}
	return nil
}

// Makers returns the calls, in builds that still run, that led to a graph which
// a client hands to another frontend as input.
func (b *Built) Makers(def *pb.Definition) []*Call { return b.job.builder.makers(def) }

// attest has the attesters say what they have to say.
func (j *job) attest(ctx context.Context, res *frontend.Result, started time.Time) (*Built, error) {
	b := &Built{Request: j.request, Started: started, Result: res, Bridge: &bridge{job: j, call: &Call{Root: j.root}}, job: j}
	var err error
	if b.Platforms, err = resultPlatforms(res); err != nil {
		return nil, err
	}
	for _, a := range j.builder.cfg.Attesters {
		if err := a.Attest(ctx, b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// resultPlatforms are the platforms that attestations are about.
func resultPlatforms(res *frontend.Result) ([]export.Platform, error) {
	list, err := platformList(res)
	if err != nil {
		return nil, err
	}
	src := &export.Source{Platforms: list, Metadata: res.Metadata}
	if res.Refs != nil {
		src.Refs = map[string]*ref.Ref{}
		for _, p := range list {
			src.Refs[p.ID] = nil
		}
	}
	results, err := src.Results()
	if err != nil {
		return nil, err
	}
	var out []export.Platform
	for _, r := range results {
		out = append(out, r.Platform)
	}
	return out, nil
}

// Names of an attestation's metadata with a meaning for exports.
const metaInlineOnly = "inline-only"

// attestations turns the statements about a result into what exporters take.
func (b *Built) attestations(hold func(frontend.Ref) (*ref.Ref, error)) (map[string][]export.Attestation, error) {
	out := map[string][]export.Attestation{}
	for platform, list := range b.Result.Attestations {
		for _, a := range list {
			held, err := hold(a.Ref)
			if err != nil {
				return nil, err
			}
			att := export.Attestation{
				Bundle: a.Kind == frontend.AttestationBundle, PredicateType: a.PredicateType, Path: a.Path, Ref: held, Metadata: a.Metadata,
			}
			att.InlineOnly, _ = strconv.ParseBool(string(a.Metadata[metaInlineOnly]))
			if att.Subjects, err = subjects(a.Subjects); err != nil {
				return nil, err
			}
			out[platform] = append(out[platform], att)
		}
	}
	for platform, list := range b.added {
		out[platform] = append(out[platform], list...)
	}
	return out, nil
}

func subjects(list []frontend.Subject) ([]export.Subject, error) {
	var out []export.Subject
	for _, s := range list {
		sub := export.Subject{Self: s.Kind == frontend.SubjectSelf, Name: s.Name}
		for _, text := range s.Digests {
			d, err := digest.Parse(text)
			if err != nil {
				return nil, fmt.Errorf("subject %s of an attestation: digest %q: %w: %w", s.Name, text, err, errdefs.ErrInvalidArgument)
			}
			sub.Digests = append(sub.Digests, d)
		}
		out = append(out, sub)
	}
	return out, nil
}
