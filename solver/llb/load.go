package llb

import (
	"context"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd/platforms"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// Options say how to read a Definition. The zero value is usable.
type Options struct {
	// DefaultPlatform is meant by operations that name none. Its zero value
	// stands for the platform this program runs on.
	DefaultPlatform ocispecs.Platform
	// Limits bound the graph; zero fields take their defaults.
	Limits Limits
	// DisabledCaps are known capabilities that the daemon refuses, with the
	// reason shown to the user.
	DisabledCaps map[string]string
	// Product is named to the user in "please update …"; empty means kiln.
	Product string
	// RewriteSource may change or refuse a source before it gets its digest.
	// It is called once for every source that the result needs, several at a
	// time. The platform is normalised; it must not be changed.
	RewriteSource func(ctx context.Context, source *pb.SourceOp, platform *pb.Platform) error
	// Admit may refuse an operation, for instance for want of an entitlement,
	// or replace what it asks for by what it is granted. It is called once
	// for every operation that the result needs, inputs first, one at a time,
	// before the operation gets its digest.
	Admit func(op *pb.Op) error
	// ProxyNetwork puts processes that use the network behind the proxy,
	// which makes them other vertices than without it.
	ProxyNetwork bool
}

// IsScratch reports whether a Definition stands for the empty file system,
// which is no graph and cannot be loaded.
func IsScratch(def *pb.Definition) bool { return len(def.GetDef()) == 0 }

// Load reads and verifies a Definition. An error that matches ErrInvalid is
// the sender's fault; others come from ctx or from the callbacks. def is not
// changed, but the Graph refers to parts of it.
func Load(ctx context.Context, def *pb.Definition, options Options) (*Graph, error) {
	l := &loader{
		def:     def,
		options: options,
		limits:  options.Limits.orDefault(),
		caps:    capChecker{disabled: options.DisabledCaps, product: options.Product},
	}
	if l.caps.product == "" {
		l.caps.product = "kiln"
	}
	if l.options.DefaultPlatform.OS == "" {
		l.options.DefaultPlatform = platforms.DefaultSpec()
	}
	for _, step := range []func(context.Context) error{
		l.decode,
		l.followPointer,
		l.order,
		l.validate,
		l.rewriteSources,
		l.admit,
		l.rehash,
		l.makeVertices,
	} {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return l.graph, nil
}
