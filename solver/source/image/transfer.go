package image

import (
	"context"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Transfer brings one blob into the content store, unless it is there, under
// the lease in ctx: broken connections are resumed, and what arrives is
// verified. name is for people; repository, if set, is the registry reference
// that the blob is labelled with.
func (p *Puller) Transfer(ctx context.Context, from Origin, name, repository string, desc ocispecs.Descriptor) error {
	return p.transfer(p.ctx(ctx), from, Spec{Name: name, Repository: repository}, desc)
}
