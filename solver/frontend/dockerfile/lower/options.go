package lower

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lint"
	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// Options say what to build of a Dockerfile, and how.
type Options struct {
	// Target is the stage to build; "" is the last one.
	Target string
	// BuildArgs are the values given for ARGs, Labels those set on the image
	// whatever the file says.
	BuildArgs, Labels map[string]string
	// Platform to build for; nil means the builder's, and then the base image
	// may decide.
	Platform *ocispecs.Platform
	// BuildPlatforms are what the builder runs on, the native one first; empty:
	// the platform built for.
	BuildPlatforms []ocispecs.Platform
	// MultiPlatform puts the platform in the names of steps.
	MultiPlatform bool
	// AllStages lowers stages that the target does not need, too, as checking a
	// file wants it.
	AllStages bool
	// NoCache tells whether a stage (its name as in the file, "" if it has
	// none) is to run afresh; nil: none is.
	NoCache func(stage string) bool
	// Exec are settings of RUN steps.
	Exec ExecOptions
	// Share is how many conversions run at the same time and share what one may
	// produce; 0 means one.
	Share int
	// NoMerge tells that the builder cannot stack file systems: COPY --link
	// then copies like any other.
	NoMerge bool
	// Linter gets the warnings; nil: nobody does.
	Linter *lint.Linter
}

// ExecOptions are settings of the processes that RUN starts.
type ExecOptions struct {
	// CacheNamespace keeps the cache mounts of builds apart.
	CacheNamespace string
	Hostname       string
	Network        compose.Network
	ExtraHosts     []compose.Host
	// ShmSize in bytes, 0 for the default.
	ShmSize      int64
	Ulimits      []compose.Ulimit
	CgroupParent string
	Resources    *compose.Resources
}

// Resolver answers questions about what is outside of the Dockerfile.
type Resolver interface {
	// Image looks up an image by its normalised reference. logName is what the
	// look-up is called in the log.
	Image(ctx context.Context, ref string, platform ocispecs.Platform, logName string) (Image, error)
	// Context finds a named context; nil if there is none of that name.
	Context(ctx context.Context, name string, platform ocispecs.Platform) (Context, error)
	// Main is the build context, of which only the paths in follow are needed
	// (nil: all). It is called when everything else is done, and before that if
	// its time is asked for.
	Main(ctx context.Context, follow []string) (compose.State, error)
	// Ignored lists the patterns of the main context's ignore file.
	Ignored(ctx context.Context) ([]string, error)
	// Time tells when a repository's commit or a download was made; nil if that
	// is not known.
	Time(ctx context.Context, source compose.State, logName string) (*time.Time, error)
}

// Image is what is known of a base image.
type Image struct {
	// Ref is the reference to use from now on; "" keeps the one asked for.
	Ref string
	// Digest of the manifest or index, "" if unknown.
	Digest digest.Digest
	// Config is the image configuration, as stored.
	Config []byte
	// ResolveMode for the source, "" for the default.
	ResolveMode string
}

// Context is a named context.
type Context interface {
	// Load finds out what the context is made of.
	Load(ctx context.Context) (LoadedContext, error)
}

// LoadedContext is a named context that is ready to be used.
type LoadedContext struct {
	// Config is the image configuration if the context is an image, else nil.
	Config []byte
	// Open gives the files; follow says which paths are needed (nil: all). It
	// is called when all paths are known.
	Open func(follow []string) (compose.State, error)
}
