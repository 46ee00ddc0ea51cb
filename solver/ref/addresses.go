package ref

import (
	"context"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
)

// maxAddresses bounds the layers whose addresses are remembered.
const maxAddresses = 4096

// addresses remembers where else layers can be had, for those that are made
// later by somebody who does not know: a cache tells digests only.
type addresses struct {
	mu   sync.Mutex
	urls map[digest.Digest][]string
}

func (a *addresses) of(d digest.Digest) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.urls[d]
}

func (a *addresses) add(d digest.Digest, urls []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.urls == nil || len(a.urls) >= maxAddresses {
		// Whoever needs an old one reads the image again before.
		a.urls = map[digest.Digest][]string{}
	}
	a.urls[d] = urls
}

// NoteAddresses notes where else the layers of an image can be had, base first,
// without bringing any: the image may not be fetched because a cache knows what
// is made of it. Layers without addresses are passed over.
func (s *Store) NoteAddresses(ctx context.Context, layers []Layer) error {
	some := false
	diffIDs := make([]digest.Digest, len(layers))
	for i, l := range layers {
		diffIDs[i] = l.DiffID
		if len(l.Descriptor.URLs) > 0 {
			some = true
			s.addresses.add(l.Descriptor.Digest, l.Descriptor.URLs)
		}
	}
	if !some {
		return nil
	}
	im := &image{s: s, layers: layers, chains: identity.ChainIDs(diffIDs)}
	for i := len(layers) - 1; i >= 0; i-- {
		found, err := im.note(ctx, i)
		if found || err != nil {
			return err
		}
	}
	return nil
}

// note adds addresses to layer i and those below, if layer i is there.
func (im *image) note(ctx context.Context, i int) (bool, error) {
	for _, id := range []string{im.chains[i].Encoded(), im.otherID(i)} {
		e, err := im.s.hold(ctx, id)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		same := im.same(e, i)
		if same {
			err = im.addURLs(e, i)
		}
		im.s.release(context.WithoutCancel(ctx), e)
		if same || err != nil {
			return true, err
		}
	}
	return false, nil
}
