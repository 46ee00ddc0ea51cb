package compose

import (
	"slices"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// scratchIndex is the index of an input that is the empty file system, and of
// an output that nobody gets.
const scratchIndex = -1

// encoding collects one operation while it is written.
type encoding struct {
	op   *pb.Op
	caps map[string]bool
	// platform is that of the operation, filled in.
	platform ocispecs.Platform
	// localUnique sets apart local sources without a session.
	localUnique func() string
	// supports says which capabilities the builder has.
	supports func(id string) bool
	// digests of the operations that are written.
	digests map[*node]digest.Digest
}

// need demands capabilities.
func (e *encoding) need(ids ...string) {
	for _, id := range ids {
		e.caps[id] = true
	}
}

// needIf demands a capability when a feature is used.
func (e *encoding) needIf(used bool, id string) {
	if used {
		e.need(id)
	}
}

// forPlatform makes the platform a part of the operation.
func (e *encoding) forPlatform() { e.op.Platform = llb.PlatformToPB(e.platform) }

// input returns the index of an input, which is written once however often
// it is asked for; scratch has no input.
func (e *encoding) input(s State) int64 {
	if s.node == nil {
		return scratchIndex
	}
	dgst := e.digests[s.node].String()
	i := slices.IndexFunc(e.op.Inputs, func(in *pb.Input) bool {
		return in.Digest == dgst && in.Index == int64(s.index)
	})
	if i < 0 {
		i = len(e.op.Inputs)
		e.op.Inputs = append(e.op.Inputs, &pb.Input{Digest: dgst, Index: int64(s.index)})
	}
	return int64(i)
}
