package llb

import (
	"slices"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// PlatformFromPB converts a platform and brings it to its normal form: alias
// names resolved, default variants dropped. Nil yields def, normalised too.
func PlatformFromPB(p *pb.Platform, def ocispecs.Platform) ocispecs.Platform {
	if p == nil {
		return platforms.Normalize(def)
	}
	return platforms.Normalize(ocispecs.Platform{
		OS:           p.OS,
		Architecture: p.Architecture,
		Variant:      p.Variant,
		OSVersion:    p.OSVersion,
		OSFeatures:   slices.Clone(p.OSFeatures),
	})
}

// PlatformToPB converts a platform as it is.
func PlatformToPB(p ocispecs.Platform) *pb.Platform {
	return &pb.Platform{
		OS:           p.OS,
		Architecture: p.Architecture,
		Variant:      p.Variant,
		OSVersion:    p.OSVersion,
		OSFeatures:   slices.Clone(p.OSFeatures),
	}
}
