package sbom

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Places in the scanner's container, and what the core is called there.
const (
	coreName     = "sbom"
	coreDir      = "/run/src/core/" + coreName
	extrasDir    = "/run/src/extras"
	extraPrefix  = coreName + "-"
	outDir       = "/run/out"
	envPrefix    = "BUILDKIT_SCAN_"
	imageScheme  = "docker-image://"
	predicateDoc = "https://spdx.dev/Document"
)

// Metadata of the attestations that scans make.
const (
	metaReason = "reason"
	metaCore   = "sbom-core"
)

// Scanner can be run. It is safe for concurrent use.
type Scanner struct {
	options  Options
	platform ocispecs.Platform
	// image is what runs; its digest is that of config.
	image  string
	config ocispecs.ImageConfig
}

// Target is what to scan.
type Target struct {
	// Name is shown to users: the platform.
	Name string
	// Core is described; Extras, by name, may be too.
	Core   compose.State
	Extras map[string]compose.State
	// IgnoreCache scans even if the outcome is known.
	IgnoreCache bool
}

// Open looks the scanner's image up through b, which applies policies. The
// scanner runs on platform, the builder's own, whatever is scanned. resolveMode
// is as in frontend.ResolveOptions.
func Open(ctx context.Context, b frontend.Bridge, o Options, platform ocispecs.Platform, resolveMode string) (*Scanner, error) {
	meta, err := b.ResolveSource(ctx, &pb.SourceOp{Identifier: imageScheme + o.Generator}, frontend.ResolveOptions{
		Platform: &platform, ResolveMode: resolveMode,
	})
	if err != nil {
		return nil, fmt.Errorf("sbom generator %s: %w", o.Generator, err)
	}
	image, err := pinned(o.Generator, meta)
	if err != nil {
		return nil, fmt.Errorf("sbom generator %s: %w", o.Generator, err)
	}
	var config ocispecs.Image
	if err := json.Unmarshal(meta.Image.Config, &config); err != nil {
		return nil, fmt.Errorf("configuration of sbom generator %s: %w: %w", o.Generator, err, errdefs.ErrInvalidArgument)
	}
	if len(config.Config.Entrypoint)+len(config.Config.Cmd) == 0 {
		return nil, fmt.Errorf("scanner %s does not have cmd: %w", o.Generator, errdefs.ErrInvalidArgument)
	}
	return &Scanner{options: o, platform: platform, image: image, config: config.Config}, nil
}

// pinned is the image that was looked up, with its digest: what runs is what
// the configuration belongs to. Policies may have replaced the image.
func pinned(generator string, meta *frontend.SourceMeta) (string, error) {
	if meta.Image == nil {
		return "", fmt.Errorf("the builder knows nothing of this image: %w", errdefs.ErrNotFound)
	}
	if id := meta.Op.GetIdentifier(); id != "" {
		name, ok := strings.CutPrefix(id, imageScheme)
		if !ok {
			return "", fmt.Errorf("ref was converted to %q, which is not an image: %w", id, errdefs.ErrInvalidArgument)
		}
		generator = name
	}
	named, err := reference.ParseNormalizedNamed(generator)
	if err != nil {
		return "", err
	}
	if _, ok := named.(reference.Canonical); ok || meta.Image.Digest == "" {
		return named.String(), nil
	}
	exact, err := reference.WithDigest(named, meta.Image.Digest)
	if err != nil {
		return "", err
	}
	return exact.String(), nil
}

// Scan returns the directory of statements that the scanner writes about t.
func (s *Scanner) Scan(t Target) compose.State {
	mounts := []compose.Mount{
		{Dest: "/", Source: compose.Image(compose.ImageSource{Ref: s.image}, compose.Info{Platform: &s.platform})},
		{Dest: "/tmp", Type: compose.Tmpfs},
		{Dest: coreDir, Source: t.Core, ReadOnly: true},
		{Dest: outDir},
	}
	for _, name := range slices.Sorted(maps.Keys(t.Extras)) {
		dest := path.Join(extrasDir, extraPrefix+name)
		mounts = append(mounts, compose.Mount{Dest: dest, Source: t.Extras[name], ReadOnly: true})
	}
	return compose.Run(compose.Exec{
		Args: slices.Concat(s.config.Entrypoint, s.config.Cmd), Env: s.env(len(t.Extras) > 0), Dir: s.config.WorkingDir, Mounts: mounts,
	}, compose.Info{
		Name: fmt.Sprintf("[%s] generating sbom using %s", t.Name, s.options.Generator), IgnoreCache: t.IgnoreCache, Platform: &s.platform,
	}).Output(outDir)
}

// env is the image's own environment with what the scanner is told.
func (s *Scanner) env(extras bool) []string {
	told := []string{envPrefix + "DESTINATION=" + outDir + "/", envPrefix + "SOURCE=" + coreDir}
	if extras {
		told = append(told, envPrefix+"SOURCE_EXTRAS="+extrasDir)
	}
	for _, k := range slices.Sorted(maps.Keys(s.options.Params)) {
		told = append(told, envPrefix+k+"="+s.options.Params[k])
	}
	var out []string
	at := map[string]int{}
	for _, entry := range slices.Concat(s.config.Env, told) {
		name, _, _ := strings.Cut(entry, "=")
		if i, twice := at[name]; twice {
			out[i] = entry
			continue
		}
		at[name] = len(out)
		out = append(out, entry)
	}
	return out
}

// Attestation is what ref, a solved Scan, says.
func Attestation(ref frontend.Ref) frontend.Attestation {
	return frontend.Attestation{
		Kind: frontend.AttestationBundle, Ref: ref, PredicateType: predicateDoc,
		Metadata: map[string][]byte{metaReason: []byte(frontend.AttestSBOM), metaCore: []byte(coreName)},
	}
}

// Described tells whether a result has a bill of materials already.
func Described(res *frontend.Result) bool {
	for _, list := range res.Attestations {
		for _, a := range list {
			if a.PredicateType == predicateDoc {
				return true
			}
		}
	}
	return false
}
