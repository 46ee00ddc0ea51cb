package dockerfile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// lookups remembers which images were looked up, so that stages and platforms
// ask once.
type lookups struct {
	mu    sync.Mutex
	found map[string]*lookup
}

// lookup is one question; its answer is there when done is closed.
type lookup struct {
	done  chan struct{}
	image lower.Image
	err   error
}

// imageScheme begins the identifiers of images.
const imageScheme = "docker-image://"

// Image implements lower.Resolver.
func (r *request) Image(ctx context.Context, ref string, platform ocispecs.Platform, logName string) (lower.Image, error) {
	key := ref + " " + platforms.FormatAll(platform)
	l := &r.lookups
	l.mu.Lock()
	found, asked := l.found[key]
	if !asked {
		if l.found == nil {
			l.found = map[string]*lookup{}
		}
		found = &lookup{done: make(chan struct{})}
		l.found[key] = found
	}
	l.mu.Unlock()
	if !asked {
		found.image, found.err = r.askImage(ctx, ref, platform, logName)
		close(found.done)
	}
	select {
	case <-found.done:
		return found.image, found.err
	case <-ctx.Done():
		return lower.Image{}, context.Cause(ctx)
	}
}

// askImage looks an image up, every time. The op that comes back may name
// another image: a policy decided so. It may also be no image at all; see
// redirectError.
func (r *request) askImage(ctx context.Context, ref string, platform ocispecs.Platform, logName string) (lower.Image, error) {
	meta, err := r.bridge.ResolveSource(ctx, &pb.SourceOp{Identifier: imageScheme + ref}, frontend.ResolveOptions{
		LogName: logName, Platform: &platform, ResolveMode: r.opts.resolveMode,
	})
	if err != nil {
		return lower.Image{}, err
	}
	id := meta.Op.GetIdentifier()
	updated, ok := strings.CutPrefix(id, imageScheme)
	if id != "" && !ok {
		return lower.Image{}, &redirectError{to: id}
	}
	if meta.Image == nil {
		return lower.Image{}, errors.New("the builder knows nothing of this image")
	}
	out := lower.Image{Digest: meta.Image.Digest, Config: meta.Image.Config, ResolveMode: r.opts.resolveMode}
	if id != "" {
		out.Ref, out.Digest = splitDigest(updated, out.Digest)
	}
	return out, nil
}

// splitDigest takes a digest off a reference. A digest that the builder reports
// wins.
func splitDigest(ref string, reported digest.Digest) (string, digest.Digest) {
	name, pinned, ok := strings.Cut(ref, "@")
	if ok && reported == "" {
		return name, digest.Digest(pinned)
	}
	if ok && digest.Digest(pinned) != reported {
		return name, reported
	}
	return name, reported
}

// redirectError says that a policy replaced an image with something that is no
// image.
type redirectError struct{ to string }

func (e *redirectError) Error() string {
	return fmt.Sprintf("ref was converted to %q, which is not an image", e.to)
}
