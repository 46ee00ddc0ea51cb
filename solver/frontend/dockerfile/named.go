package dockerfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/llb/compose"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// namedContext is a context that an option defines:
// `context:<name>=<kind>:<what>`.
type namedContext struct {
	r *request
	// name is what is replaced, full the same with the platform if the option
	// has one.
	name, full string
	value      string
	platform   ocispecs.Platform
}

// Context implements lower.Resolver. An option for the platform wins over one
// for all.
func (r *request) Context(_ context.Context, name string, platform ocispecs.Platform) (lower.Context, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("invalid context name %s: %w", name, err)
	}
	name = strings.TrimSuffix(reference.FamiliarString(named), ":latest")
	for _, full := range []string{name + "::" + platforms.FormatAll(platforms.Normalize(platform)), name} {
		if value, ok := r.opts.raw[optContext+full]; ok {
			return &namedContext{r: r, name: name, full: full, value: value, platform: platform}, nil
		}
	}
	return nil, nil
}

// maxRedirects bounds how often policies may replace one context by another.
const maxRedirects = 10

// Load implements lower.Context.
func (n *namedContext) Load(ctx context.Context) (lower.LoadedContext, error) {
	current := *n
	for range maxRedirects {
		loaded, err := current.load(ctx)
		var redirect *redirectError
		if !errors.As(err, &redirect) {
			return loaded, err
		}
		kind, what, ok := strings.Cut(redirect.to, "://")
		if !ok {
			return loaded, fmt.Errorf("could not parse ref: %s", redirect.to)
		}
		current.value = kind + "://" + what
	}
	return lower.LoadedContext{}, errors.New(
		"context recursion limit exceeded; this may indicate a cycle in the provided source policies: " + current.value)
}

// load opens the context by the kind its value begins with.
func (n *namedContext) load(ctx context.Context) (lower.LoadedContext, error) {
	kind, what, ok := strings.Cut(n.value, ":")
	if !ok {
		return lower.LoadedContext{}, fmt.Errorf("invalid context specifier %s for %s", n.value, n.full)
	}
	if strings.HasPrefix(kind, "git@") {
		kind = "git"
	}
	switch kind {
	case "docker-image":
		return n.image(ctx, strings.TrimPrefix(what, "//"))
	case "git", "http", "https":
		return n.remote(kind)
	case "oci-layout":
		return n.layout(ctx, strings.TrimPrefix(what, "//"))
	case "local":
		// A policy writes it as an identifier, with slashes.
		return n.local(ctx, strings.TrimPrefix(what, "//"))
	case "input":
		return n.input(ctx, what)
	}
	return lower.LoadedContext{}, fmt.Errorf("unsupported context source %s for %s", kind, n.full)
}

// opened is a context that does not depend on what is read of it.
func opened(state compose.State, config []byte) lower.LoadedContext {
	return lower.LoadedContext{Config: config, Open: func([]string) (compose.State, error) { return state, state.Err() }}
}

func (n *namedContext) title(text string) string { return "[context " + n.full + "] " + text }

// image uses an image as a context. Its reference is not pinned: the client
// chose it, and a tag may stay one.
func (n *namedContext) image(ctx context.Context, name string) (lower.LoadedContext, error) {
	if name == "scratch" {
		return lower.LoadedContext{}, nil
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return lower.LoadedContext{}, err
	}
	ref := reference.TagNameOnly(named).String()
	found, err := n.r.askImage(ctx, ref, n.platform, n.title("load metadata for "+name))
	if err != nil {
		return lower.LoadedContext{}, err
	}
	if found.Ref != "" {
		ref = found.Ref
		if found.Digest != "" && strings.Contains(named.String(), "@") {
			ref += "@" + found.Digest.String()
		}
	}
	state := compose.Image(compose.ImageSource{Ref: ref}, compose.Info{Name: n.title(name), Platform: &n.platform})
	return opened(state, found.Config), nil
}

// remote uses a repository or a download. The latter is not unpacked: only the
// main context is.
func (n *namedContext) remote(kind string) (lower.LoadedContext, error) {
	git, err := lower.ParseGit(n.value)
	if err != nil {
		return lower.LoadedContext{}, err
	}
	if git != nil {
		state := compose.Git(git.Source(), compose.Info{Name: "[internal] load git source " + n.value})
		return opened(state, nil), nil
	}
	if kind == "git" {
		return lower.LoadedContext{}, fmt.Errorf("invalid git context %s", n.value)
	}
	state := compose.HTTP(
		compose.HTTPSource{URL: n.value, File: compose.FileSource{Filename: remoteFile}}, compose.Info{Name: n.title(n.value)})
	return opened(state, nil), nil
}

// layout is an image in a layout that the client holds. The layout's name is
// the client's; what is shown is the name that the context replaces.
func (n *namedContext) layout(ctx context.Context, text string) (lower.LoadedContext, error) {
	parsed, err := reference.Parse(text)
	if err != nil {
		return lower.LoadedContext{}, fmt.Errorf("could not parse oci-layout reference %q: %w", text, err)
	}
	store, ok := parsed.(reference.Named)
	if !ok {
		return lower.LoadedContext{}, fmt.Errorf("oci-layout reference %q has no name", text)
	}
	pinned, ok := parsed.(reference.Digested)
	if !ok {
		return lower.LoadedContext{}, fmt.Errorf("oci-layout reference %q has no digest", store.String())
	}
	shown, err := reference.ParseNormalizedNamed(n.name)
	if err != nil {
		return lower.LoadedContext{}, fmt.Errorf("could not parse oci-layout reference %q: %w", n.name, err)
	}
	withDigest, err := reference.WithDigest(shown, pinned.Digest())
	if err != nil {
		return lower.LoadedContext{}, fmt.Errorf("could not wrap %q with digest: %w", n.name, err)
	}
	ref := withDigest.String()
	op := &pb.SourceOp{
		Identifier: "oci-layout://" + ref,
		Attrs:      map[string]string{"oci.session": n.r.info.SessionID, "oci.store": store.Name()},
	}
	meta, err := n.r.bridge.ResolveSource(ctx, op, frontend.ResolveOptions{
		LogName: n.title("load metadata for " + ref), Platform: &n.platform,
	})
	if err != nil {
		return lower.LoadedContext{}, err
	}
	if meta.Image == nil {
		return lower.LoadedContext{}, fmt.Errorf("oci-layout reference %q is no image", text)
	}
	state := compose.Layout(
		compose.LayoutSource{Ref: ref, SessionID: n.r.info.SessionID, StoreID: store.Name()},
		compose.Info{Name: n.title("OCI load from client"), Platform: &n.platform})
	return opened(state, meta.Image.Config), nil
}

// local is a directory of the client, with an ignore file of its own.
func (n *namedContext) local(ctx context.Context, name string) (lower.LoadedContext, error) {
	data, err := n.r.readLocal(ctx, compose.LocalSource{
		Name: name, SharedKeyHint: "context:" + n.full + "-" + ignoreName,
	}, n.title("load "+ignoreName))
	if err != nil {
		return lower.LoadedContext{}, err
	}
	exclude, err := readPatterns(data)
	if err != nil {
		return lower.LoadedContext{}, fmt.Errorf("failed parsing %s: %w", ignoreName, err)
	}
	source := compose.LocalSource{
		Name: name, SessionID: n.r.opts.session(name, n.r.info), Exclude: exclude,
		SharedKeyHint: "context:" + n.full + "-" + n.r.opts.raw[optSharedKey+n.full],
	}
	return lower.LoadedContext{Open: func(follow []string) (compose.State, error) {
		source.FollowPaths = follow
		return compose.Local(source, compose.Info{Name: n.title("load from client")}), nil
	}}, nil
}

// input is a graph that the client hands in, with an image configuration if it
// says so.
func (n *namedContext) input(ctx context.Context, name string) (lower.LoadedContext, error) {
	def, ok := n.r.inputs[name]
	if !ok {
		return lower.LoadedContext{}, fmt.Errorf("invalid input %s for %s", name, n.full)
	}
	state, err := compose.Import(ctx, def)
	if err != nil {
		return lower.LoadedContext{}, err
	}
	text, ok := n.r.opts.raw[optInputMeta+name]
	if !ok {
		return opened(state, nil), nil
	}
	var meta map[string][]byte
	if err := json.Unmarshal([]byte(text), &meta); err != nil {
		return lower.LoadedContext{}, fmt.Errorf("failed to parse input metadata %s: %w", text, err)
	}
	return opened(state, meta[frontend.MetaImageConfig]), nil
}
