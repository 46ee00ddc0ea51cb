package dockerfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lint"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	"github.com/kilnbuild/kiln/solver/frontend/sbom"
)

// Names of options. Those with a colon at the end are prefixes.
const (
	optFilename      = "filename"
	optTarget        = "target"
	optPlatform      = "platform"
	optMultiPlatform = "multi-platform"
	optNoCache       = "no-cache"
	optResolveMode   = "image-resolve-mode"
	optContextKey    = "contextkey"
	optDockerfileKey = "dockerfilekey"
	optSubdir        = "contextsubdir"
	optRequest       = "requestid"
	optCaps          = "frontend.caps"
	optCommandLine   = "cmdline"
	optSource        = "source"
	optBuildArg      = "build-arg:"
	optLabel         = "label:"
	optContext       = "context:"
	optInputMeta     = "input-metadata:"
	optLocalSession  = "local-sessionid:"
	optSharedKey     = "sharedkey:localdir:"
)

// options are a request's options, read and checked.
type options struct {
	raw         map[string]string
	filename    string
	target      string
	platforms   []ocispecs.Platform
	native      []ocispecs.Platform
	multi       bool
	resolveMode string
	buildArgs   map[string]string
	labels      map[string]string
	exec        lower.ExecOptions
	cache       []frontend.CacheImport
	// sbom says how to scan results; nil: they are not scanned.
	sbom *sbom.Options
	// lint replaces the file's own configuration if it is not nil.
	lint *lint.Config
}

// readOptions checks what can be checked before anything is loaded.
func readOptions(raw map[string]string, info frontend.Info) (*options, error) {
	if raw["override-copy-image"] != "" {
		return nil, errors.New("support for \"override-copy-image\" was removed in BuildKit 0.11")
	}
	if off, err := strconv.ParseBool(raw[optBuildArg+"BUILDKIT_DISABLE_FILEOP"]); err == nil && off {
		return nil, errors.New("support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11")
	}
	o := &options{
		raw: raw, filename: "Dockerfile", target: raw[optTarget], native: []ocispecs.Platform{nativePlatform(info)},
		buildArgs: prefixed(raw, optBuildArg), labels: prefixed(raw, optLabel), resolveMode: raw[optResolveMode],
	}
	if name, ok := raw[optFilename]; ok {
		o.filename = name
	}
	switch o.resolveMode {
	case "", "default", "pull", "local":
	default:
		return nil, fmt.Errorf("invalid image-resolve-mode: %s", o.resolveMode)
	}
	for _, read := range []func() error{o.readPlatforms, o.readExec, o.readCacheImports, o.readLint, o.readSBOM} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// nativePlatform is what processes run on without emulation.
func nativePlatform(info frontend.Info) ocispecs.Platform {
	if len(info.Workers) > 0 && len(info.Workers[0].Platforms) > 0 {
		return info.Workers[0].Platforms[0]
	}
	return platforms.Normalize(platforms.DefaultSpec())
}

// prefixed selects the options with a prefix, which is taken off.
func prefixed(raw map[string]string, prefix string) map[string]string {
	out := map[string]string{}
	for key, value := range raw {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			out[name] = value
		}
	}
	return out
}

// maxPlatforms bounds how many platforms one request may build for.
const maxPlatforms = 50

// readPlatforms reads the platforms to build for. One platform gives a plain
// result unless the client wants the form for several.
func (o *options) readPlatforms() error {
	if text := o.raw[optPlatform]; text != "" {
		for part := range strings.SplitSeq(text, ",") {
			platform, err := platforms.Parse(part)
			if err != nil {
				return fmt.Errorf("failed to parse target platform %s: %w", part, err)
			}
			if platform = platforms.Normalize(platform); !slices.ContainsFunc(o.platforms, platforms.OnlyStrict(platform).Match) {
				o.platforms = append(o.platforms, platform)
			}
		}
	}
	if len(o.platforms) > maxPlatforms {
		return fmt.Errorf("more than the max allowed number of %d platforms", maxPlatforms)
	}
	o.multi = len(o.platforms) > 1
	text := o.raw[optMultiPlatform]
	if arg := o.raw[optBuildArg+"BUILDKIT_MULTI_PLATFORM"]; arg != "" {
		text = arg
	}
	if text == "" {
		return nil
	}
	wanted, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("invalid boolean value for multi-platform: %s", text)
	}
	if !wanted && o.multi {
		return errors.New("conflicting config: returning multiple target platforms is not allowed")
	}
	o.multi = wanted
	return nil
}

// readCacheImports reads both forms: a JSON list, and the old list of
// references.
func (o *options) readCacheImports() error {
	if text := o.raw["cache-imports"]; text != "" {
		if err := json.Unmarshal([]byte(text), &o.cache); err != nil {
			return fmt.Errorf("failed to unmarshal cache-imports (%q): %w", text, err)
		}
	}
	if text := o.raw["cache-from"]; text != "" {
		for ref := range strings.SplitSeq(text, ",") {
			o.cache = append(o.cache, frontend.CacheImport{Type: "registry", Attrs: map[string]string{"ref": ref}})
		}
	}
	return nil
}

// readLint reads the build argument that replaces the file's check directive.
func (o *options) readLint() error {
	text, ok := o.raw[optBuildArg+"BUILDKIT_DOCKERFILE_CHECK"]
	if !ok {
		return nil
	}
	config, err := lint.ParseConfig(text)
	if err != nil {
		return fmt.Errorf("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK: %w", err)
	}
	o.lint = &config
	return nil
}

func (o *options) readSBOM() (err error) {
	o.sbom, err = sbom.Requested(o.raw)
	return err
}

// noCache tells whether a stage is to run afresh. The option without a value
// means all stages.
func (o *options) noCache(stage string) bool {
	text, ok := o.raw[optNoCache]
	if !ok || text == "" {
		return ok
	}
	for name := range strings.SplitSeq(text, ",") {
		if strings.EqualFold(name, stage) {
			return true
		}
	}
	return false
}

// session is the session that a local directory comes from.
func (o *options) session(local string, info frontend.Info) string {
	if id, ok := o.raw[optLocalSession+local]; ok {
		return id
	}
	return info.SessionID
}
