package provenance

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/frontend"
)

// Attester adds provenance to the results of builds whose requests ask for it.
// It implements build.Attester and build.Recorder.
type Attester struct {
	cfg Config
}

// Config is what an Attester is made of.
type Config struct {
	// Custom, optional, has fields that the daemon's owner adds.
	Custom map[string]any
	// DockerfileVersion is that of the Dockerfile frontend in this builder.
	DockerfileVersion string
	// Sampler, optional, knows how busy the machine was.
	Sampler *Sampler
}

var (
	_ build.Attester = (*Attester)(nil)
	_ build.Recorder = (*Attester)(nil)
)

// New returns an Attester.
func New(cfg Config) *Attester { return &Attester{cfg: cfg} }

// Check refuses bad options.
func (a *Attester) Check(req *build.Request) error {
	_, _, err := a.options(req)
	return err
}

// options reads what a request asks for; ok is false if that is nothing.
func (a *Attester) options(req *build.Request) (o Options, ok bool, err error) {
	requested, err := frontend.Requested(req.Opts)
	if err != nil {
		return o, false, err
	}
	pairs, ok := requested[frontend.AttestProvenance]
	if !ok {
		return o, false, nil
	}
	o, err = ParseOptions(pairs)
	o.Custom = a.cfg.Custom
	return o, true, err
}

// Attest adds the provenance of every platform. What it says is composed when
// the exporter reads it.
func (a *Attester) Attest(ctx context.Context, b *build.Built) error {
	o, ok, err := a.options(b.Request)
	if err != nil || !ok {
		return err
	}
	for _, p := range b.Platforms {
		pred, err := a.predicate(b, p, o)
		if err != nil {
			return err
		}
		if pred == nil {
			continue
		}
		places, err := newPlaces(ctx, b, p, pred.Definition.Internal.BuildConfig)
		if err != nil {
			return err
		}
		samples := a.samples(b, o)
		kind := PredicateTypeV1
		if o.V02 {
			kind = PredicateTypeV02
		}
		b.Add(p.ID, export.Attestation{
			PredicateType: kind, Path: o.Filename, InlineOnly: o.InlineOnly,
			Metadata: map[string][]byte{"reason": []byte(frontend.AttestProvenance), "inline-only": []byte(strconv.FormatBool(o.InlineOnly))},
			Data: func(_ context.Context, layers []ocispecs.Descriptor) ([]byte, error) {
				return encodePredicate(pred, o, b.Now(), places.of(layers), samples())
			},
		})
	}
	return nil
}

// samples returns a function that returns what is to be told of the machine.
func (a *Attester) samples(b *build.Built, o Options) func() []*Sample {
	if !o.Usage || a.cfg.Sampler == nil {
		return func() []*Sample { return nil }
	}
	return a.cfg.Sampler.Samples(b.Request.ID)
}

// Record implements build.Recorder: the record of a build tells everything,
// even if the request does not ask for it.
func (a *Attester) Record(ctx context.Context, b *build.Built) ([]build.Predicate, error) {
	asked, _, err := a.options(b.Request)
	if err != nil {
		return nil, err
	}
	o := Options{BuilderID: asked.BuilderID, Custom: a.cfg.Custom, Usage: true}
	samples := sync.OnceValue(a.samples(b, o))
	var out []build.Predicate
	for _, p := range b.Platforms {
		pred, err := a.predicate(b, p, o)
		if err != nil {
			return out, err
		}
		if pred == nil {
			continue
		}
		places, err := newPlaces(ctx, b, p, pred.Definition.Internal.BuildConfig)
		if err != nil {
			return out, err
		}
		chains, err := b.Layers(ctx, b.Ref(p.ID))
		if err != nil {
			return out, err
		}
		finished := b.Now()
		said := build.Predicate{Type: PredicateTypeV1, Data: func() ([]byte, error) {
			return encodePredicate(pred, o, finished, places.of(chains...), samples())
		}}
		if b.Result.Refs != nil {
			said.Platform = p.ID
		}
		out = append(out, said)
	}
	return out, nil
}

// encodePredicate finishes and writes a predicate.
func encodePredicate(p *Predicate, o Options, finished time.Time, layers layersOf, samples []*Sample) ([]byte, error) {
	done := *p
	done.Run.Metadata.FinishedOn = &finished
	done.Run.Metadata.Build.Layers, done.Run.Metadata.Build.SysUsage = layers, samples
	var v any = &done
	if o.V02 {
		v = done.V02()
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode provenance: %w", err)
	}
	return data, nil
}

// predicate composes what is known of one platform's result; nil if there is
// no result.
func (a *Attester) predicate(b *build.Built, p export.Platform, o Options) (*Predicate, error) {
	origin := b.Origin(b.Ref(p.ID))
	if origin == nil {
		return nil, nil
	}
	c := &collector{built: b}
	pred, err := c.collect(origin, p).Predicate(o)
	if err != nil {
		return nil, err
	}
	started := b.Started
	meta := &pred.Run.Metadata
	meta.InvocationID, meta.StartedOn = b.Request.ID, &started
	req := &pred.Definition.External.Request
	req.CompatibilityVersion = b.CompatibilityVersion()
	if req.Frontend == dockerfileFrontend {
		pred.Definition.Internal.DockerfileVersion = a.cfg.DockerfileVersion
	}
	return pred, nil
}

// dockerfileFrontend is the frontend whose version is told.
const dockerfileFrontend = "dockerfile.v0"
