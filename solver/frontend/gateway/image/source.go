package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Options that define named contexts.
const (
	optContext   = "context:"
	optInputMeta = "input-metadata:"
)

// Schemes of sources.
const (
	schemeImage  = "docker-image://"
	schemeLayout = "oci-layout://"
)

// recordType tells the cache what the image is for.
const recordType = "frontend"

// unlabelled are images that know capInputs without saying so: they are older
// than the label (docker/dockerfile 1.1.6 and 1.1.7 and their experimental
// variants).
var unlabelled = []digest.Digest{
	"sha256:9ac1c43a60e31dca741a6fe8314130a9cd4c4db0311fbbc636ff992ef60ae76d",
	"sha256:080bd74d8778f83e7b670de193362d8c593c8b14f5c8fb919d28ee8feda0d069",
	"sha256:60543a9d92b92af5088fb2938fb09b2072684af8384399e153e137fe081f8ab4",
	"sha256:de85b2f3a3e8a2f7fe48e8e84a65f6fdd5cd5183afa6412fff9caa6871649c44",
}

// found is a frontend image.
type found struct {
	name   string
	digest digest.Digest
	config ocispecs.Image
	state  compose.State
}

// find looks a source up: as a named context of the request, else as an image.
func find(ctx context.Context, host Host, source string, req frontend.Request) (*found, error) {
	named, err := reference.ParseNormalizedNamed(source)
	if err != nil {
		return nil, fmt.Errorf("gateway source %q: %w", source, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	value, ok := contextFor(named, host, req)
	if !ok {
		return findImage(ctx, host, named)
	}
	kind, what, _ := strings.Cut(value, ":")
	what = strings.TrimPrefix(what, "//")
	switch kind {
	case "docker-image":
		if named, err = reference.ParseNormalizedNamed(what); err != nil {
			return nil, fmt.Errorf("context %s: %w", source, errors.Join(err, errdefs.ErrInvalidArgument))
		}
		return findImage(ctx, host, named)
	case "oci-layout":
		return findLayout(ctx, host, named, what)
	case "input":
		return findInput(ctx, source, what, req)
	}
	return nil, fmt.Errorf("context %s: a frontend cannot come from %q: %w", source, value, errdefs.ErrInvalidArgument)
}

// contextFor returns the named context that stands in for a source. One for the
// builder's platform wins over one for all.
func contextFor(named reference.Named, host Host, req frontend.Request) (string, bool) {
	name := strings.TrimSuffix(reference.FamiliarString(named), ":latest")
	if w := host.Info().Workers; len(w) > 0 && len(w[0].Platforms) > 0 {
		p := platforms.FormatAll(platforms.Normalize(w[0].Platforms[0]))
		if value, ok := req.Opts[optContext+name+"::"+p]; ok {
			return value, true
		}
	}
	value, ok := req.Opts[optContext+name]
	return value, ok
}

// findImage resolves an image and pins it to what was found.
func findImage(ctx context.Context, host Host, named reference.Named) (*found, error) {
	ref := reference.TagNameOnly(named).String()
	op := &pb.SourceOp{Identifier: schemeImage + ref}
	meta, err := host.ResolveSource(ctx, op, frontend.ResolveOptions{LogName: "resolve image config for " + op.Identifier})
	if err != nil {
		return nil, err
	}
	// A policy may have put another image in its place.
	if ref = strings.TrimPrefix(meta.Op.GetIdentifier(), schemeImage); meta.Image == nil {
		return nil, fmt.Errorf("gateway source %s is no image: %w", ref, errdefs.ErrInvalidArgument)
	}
	im := &found{name: ref, digest: meta.Image.Digest}
	if err := json.Unmarshal(meta.Image.Config, &im.config); err != nil {
		return nil, fmt.Errorf("configuration of frontend %s: %w", ref, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	if im.digest != "" && !strings.Contains(ref, "@") {
		ref += "@" + im.digest.String()
	}
	im.state = compose.Image(compose.ImageSource{Ref: ref, RecordType: recordType}, compose.Info{})
	return im, nil
}

// findLayout uses an image in a layout of the client.
func findLayout(ctx context.Context, host Host, named reference.Named, what string) (*found, error) {
	parsed, err := reference.Parse(what)
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", named, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	store, isNamed := parsed.(reference.Named)
	pinned, isPinned := parsed.(reference.Digested)
	if !isNamed || !isPinned {
		return nil, fmt.Errorf("context %s: oci-layout reference %q wants a name and a digest: %w", named, what, errdefs.ErrInvalidArgument)
	}
	full, err := reference.WithDigest(reference.TrimNamed(named), pinned.Digest())
	if err != nil {
		return nil, fmt.Errorf("context %s: %w", named, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	session := host.Info().SessionID
	op := &pb.SourceOp{
		Identifier: schemeLayout + full.String(), Attrs: map[string]string{"oci.session": session, "oci.store": store.Name()},
	}
	meta, err := host.ResolveSource(ctx, op, frontend.ResolveOptions{LogName: "resolve image config for " + op.Identifier})
	if err != nil {
		return nil, err
	}
	if meta.Image == nil {
		return nil, fmt.Errorf("gateway source %s is no image: %w", full, errdefs.ErrInvalidArgument)
	}
	im := &found{name: full.String(), digest: meta.Image.Digest}
	if err := json.Unmarshal(meta.Image.Config, &im.config); err != nil {
		return nil, fmt.Errorf("configuration of frontend %s: %w", full, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	im.state = compose.Layout(compose.LayoutSource{Ref: full.String(), SessionID: session, StoreID: store.Name()}, compose.Info{})
	return im, nil
}

// findInput uses a graph that the client handed in, with the image
// configuration that came with it.
func findInput(ctx context.Context, source, name string, req frontend.Request) (*found, error) {
	def, ok := req.Inputs[name]
	if !ok {
		return nil, fmt.Errorf("invalid input %s for %s: %w", name, source, errdefs.ErrInvalidArgument)
	}
	im := &found{name: source}
	var err error
	if im.state, err = compose.Import(ctx, def); err != nil {
		return nil, fmt.Errorf("context %s: %w", source, err)
	}
	text, ok := req.Opts[optInputMeta+name]
	if !ok {
		return im, nil
	}
	var meta map[string][]byte
	if err = json.Unmarshal([]byte(text), &meta); err == nil && meta[frontend.MetaImageConfig] != nil {
		err = json.Unmarshal(meta[frontend.MetaImageConfig], &im.config)
	}
	if err != nil {
		return nil, fmt.Errorf("metadata of input %s: %w", name, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	return im, nil
}
