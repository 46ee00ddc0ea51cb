package image

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/dockerapi/route"
)

// Summary is one image of a list.
type Summary struct {
	ID       string `json:"Id"`
	ParentID string `json:"ParentId"`
	// RepoTags and RepoDigests are familiar names.
	RepoTags    []string
	RepoDigests []string
	// Created is in seconds since 1970.
	Created int64
	// Size is that of blobs and snapshots, in bytes; SharedSize the part that
	// other images of the list have, too, -1 if it was not asked for.
	Size       int64
	SharedSize int64
	// VirtualSize is Size for clients that know it by this name only.
	VirtualSize int64 `json:",omitempty"`
	Labels      map[string]string
	// Containers that use the image; -1 for older clients.
	Containers int64
	Manifests  []ManifestSummary    `json:",omitempty"`
	Descriptor *ocispecs.Descriptor `json:",omitempty"`

	created time.Time
}

// ManifestSummary is one manifest of an image.
type ManifestSummary struct {
	ID         string
	Descriptor ocispecs.Descriptor
	Available  bool
	Size       struct{ Content, Total int64 }
	// Kind is "image", "attestation" or "unknown"; one of the following is set
	// accordingly.
	Kind            string
	ImageData       *ImageData       `json:",omitempty"`
	AttestationData *AttestationData `json:",omitempty"`
}

// ImageData is what is known of a manifest that is an image.
type ImageData struct {
	Platform   ocispecs.Platform
	Size       struct{ Unpacked int64 }
	Containers []string
}

// AttestationData is what an attestation is about.
type AttestationData struct{ For digest.Digest }

// filter reads the filters of lists and prunes. dangling is left to the caller
// unless it is wanted.
func filter(f route.Filters, dangling bool) (imagestore.Filter, error) {
	out := imagestore.Filter{
		Labels: f["label"], NotLabels: f["label!"], Before: f["before"], Since: f["since"], References: f["reference"],
	}
	for _, text := range f["until"] {
		t, err := route.Time(text, time.Now())
		if err != nil || t.IsZero() {
			return out, route.ErrFilter("until", f["until"])
		}
		if out.Until.IsZero() || t.Before(out.Until) {
			out.Until = t
		}
	}
	if _, ok := f["dangling"]; ok && dangling {
		v, err := f.One("dangling", false)
		if err != nil {
			return out, err
		}
		out.Dangling = &v
	}
	return out, nil
}

// list answers GET /images/json.
func (s *Server) list(w http.ResponseWriter, r *http.Request, _ string) error {
	f, err := route.ParseFilters(r, "dangling", "label", "label!", "before", "since", "reference", "until")
	if err != nil {
		return err
	}
	v := route.VersionOf(r)
	if glob := r.FormValue("filter"); glob != "" && v.Before(41) {
		f["reference"] = append(f["reference"], glob)
	}
	chosen, err := filter(f, true)
	if err != nil {
		return err
	}
	out, err := s.Summaries(r.Context(), chosen, !v.Before(42) && route.Bool(r, "shared-size"), v)
	if err != nil {
		return err
	}
	for _, im := range out {
		if !route.Bool(r, "manifests") || v.Before(47) {
			im.Manifests = nil
		}
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// Summaries lists images, newest first, as clients of a version know them.
func (s *Server) Summaries(ctx context.Context, f imagestore.Filter, shared bool, v route.Version) ([]*Summary, error) {
	list, err := s.store.List(ctx, f)
	if err != nil {
		return nil, err
	}
	sizes := &snapshotSizes{store: s.store, known: map[digest.Digest]int64{}, users: map[digest.Digest]int{}}
	out := make([]*Summary, 0, len(list))
	chains := make(map[*Summary][]digest.Digest, len(list))
	for i := range list {
		im, chain, err := s.summary(ctx, &list[i], sizes)
		if err != nil {
			return nil, err
		}
		out = append(out, im)
		chains[im] = chain
	}
	for im, chain := range chains {
		if shared {
			im.SharedSize = sizes.shared(chain)
		}
		fit(im, v)
	}
	slices.SortStableFunc(out, func(a, b *Summary) int { return b.created.Compare(a.created) })
	return out, nil
}

// fit gives a client of an older version what it knows.
func fit(im *Summary, v route.Version) {
	if v.Before(43) && len(im.RepoTags) == 0 && len(im.RepoDigests) == 0 {
		im.RepoTags, im.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
	}
	if v.Before(44) {
		im.VirtualSize = im.Size
	}
	if v.Before(48) {
		im.Descriptor = nil
	}
	if v.Before(51) {
		im.Containers = -1
	}
}

// summary describes one image; the chain is that of all its snapshots.
func (s *Server) summary(ctx context.Context, l *imagestore.Listed, sizes *snapshotSizes) (*Summary, []digest.Digest, error) {
	target := l.Names[0].Target
	im := &Summary{ID: target.Digest.String(), SharedSize: -1, Descriptor: &target}
	im.RepoTags, im.RepoDigests = imagestore.Tags(l.Names)
	var chain []digest.Digest
	for i := range l.Variants {
		m, err := manifestSummary(ctx, &l.Variants[i], sizes)
		if err != nil {
			return nil, nil, err
		}
		im.Manifests = append(im.Manifests, m)
		im.Size += m.Size.Total
		chain = append(chain, l.Variants[i].ChainIDs()...)
	}
	slices.Sort(chain)
	chain = slices.Compact(chain)
	for _, id := range chain {
		sizes.users[id]++
	}
	if best := s.store.Pick(l.Variants, nil); best != nil {
		im.Labels = best.Config.Config.Labels
	}
	if im.created = l.Made; !im.created.IsZero() {
		im.Created = im.created.Unix()
	}
	return im, chain, nil
}

// manifestSummary describes one manifest.
func manifestSummary(ctx context.Context, v *imagestore.Variant, sizes *snapshotSizes) (ManifestSummary, error) {
	m := ManifestSummary{ID: v.Descriptor.Digest.String(), Descriptor: v.Descriptor, Available: v.Available, Kind: v.Kind}
	m.Size.Content, m.Size.Total = v.Content, v.Content
	switch v.Kind {
	case imagestore.KindAttestation:
		m.AttestationData = &AttestationData{v.For}
	case imagestore.KindImage:
		m.ImageData = &ImageData{Platform: v.Platform, Containers: []string{}}
		for _, id := range v.ChainIDs() {
			n, err := sizes.of(ctx, id)
			if err != nil {
				return m, err
			}
			m.ImageData.Size.Unpacked += n
		}
		m.Size.Total += m.ImageData.Size.Unpacked
	}
	return m, nil
}

// snapshotSizes remembers what was measured for one answer.
type snapshotSizes struct {
	store *imagestore.Store
	known map[digest.Digest]int64
	// users counts the images with a snapshot.
	users map[digest.Digest]int
}

func (z *snapshotSizes) of(ctx context.Context, id digest.Digest) (int64, error) {
	if n, ok := z.known[id]; ok {
		return n, nil
	}
	n, err := z.store.SnapshotSize(ctx, id)
	if err != nil && !errdefs.IsInvalidArgument(err) {
		return 0, err
	}
	z.known[id] = n
	return n, nil
}

// shared is the size of what several images have.
func (z *snapshotSizes) shared(chain []digest.Digest) int64 {
	var total int64
	for _, id := range chain {
		if z.users[id] > 1 {
			total += z.known[id]
		}
	}
	return total
}
