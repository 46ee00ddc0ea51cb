package image

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/dockerapi/route"
)

// inspection is the answer of GET /images/{name}/json.
type inspection struct {
	ID            string `json:"Id"`
	RepoTags      []string
	RepoDigests   []string
	Parent        string
	Comment       string
	Created       string `json:",omitempty"`
	DockerVersion string
	Author        string
	Config        map[string]any
	Architecture  string
	Variant       string `json:",omitempty"`
	Os            string
	OsVersion     string `json:",omitempty"`
	Size          int64
	VirtualSize   int64 `json:",omitempty"`
	GraphDriver   struct {
		Data map[string]string
		Name string
	}
	RootFS struct {
		Type   string          `json:",omitempty"`
		Layers []digest.Digest `json:",omitempty"`
	}
	Metadata   struct{ LastTagTime time.Time }
	Descriptor *ocispecs.Descriptor `json:",omitempty"`
	Manifests  []ManifestSummary    `json:",omitempty"`
}

// Fields of configurations that clients expect whether they are set or not.
var (
	configFields = map[string]any{
		"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil, "User": "", "Volumes": nil, "WorkingDir": "",
	}
	oldConfigFields = map[string]any{
		"AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "", "Hostname": "", "Image": "",
		"OpenStdin": false, "StdinOnce": false, "Tty": false,
	}
)

// inspect answers GET /images/{name}/json.
func (s *Server) inspect(w http.ResponseWriter, r *http.Request, name string) error {
	v := route.VersionOf(r)
	platform, err := platformSince(r, 49)
	if err != nil {
		return err
	}
	manifests := !v.Before(48) && route.Bool(r, "manifests")
	if manifests && platform != nil {
		return fmt.Errorf("conflicting options: manifests and platform options cannot both be set: %w", errdefs.ErrInvalidArgument)
	}
	out, err := s.describe(r.Context(), name, platform)
	if err != nil {
		return err
	}
	if !manifests {
		out.Manifests = nil
	}
	if v.Before(44) {
		out.VirtualSize = out.Size
		if out.Created == "" {
			out.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	if v.Before(48) {
		out.Descriptor = nil
	}
	if v.Before(50) && out.Config != nil {
		for k, value := range oldConfigFields {
			if _, ok := out.Config[k]; !ok {
				out.Config[k] = value
			}
		}
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// describe looks at an image, or at its variant for a platform.
func (s *Server) describe(ctx context.Context, name string, p *ocispecs.Platform) (*inspection, error) {
	im, err := s.store.Resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	names, err := s.store.Names(ctx, im.Target.Digest)
	if err != nil {
		return nil, err
	}
	all, err := s.store.Variants(ctx, im.Target)
	if err != nil {
		return nil, err
	}
	best := s.store.Pick(all, p)
	if best == nil && p != nil {
		return nil, imagestore.NoPlatform(name, p)
	}
	target := im.Target
	if p != nil {
		target = best.Descriptor
	}
	out := &inspection{ID: target.Digest.String(), Descriptor: &target, Size: target.Size}
	out.RepoTags, out.RepoDigests = imagestore.Tags(names)
	out.GraphDriver.Name = s.store.SnapshotterName()
	out.Metadata.LastTagTime = lastTag(names)
	sizes := &snapshotSizes{store: s.store, known: map[digest.Digest]int64{}, users: map[digest.Digest]int{}}
	for i := range all {
		m, err := manifestSummary(ctx, &all[i], sizes)
		if err != nil {
			return nil, err
		}
		out.Manifests = append(out.Manifests, m)
	}
	if best == nil {
		return out, nil
	}
	if out.Size = best.Content; best.Descriptor.Digest != target.Digest {
		out.Size += target.Size
	}
	return out, configure(out, best.Config)
}

// lastTag is when an image last got a name.
func lastTag(names []images.Image) time.Time {
	last := time.Unix(0, 0).UTC()
	for _, im := range names {
		if im.UpdatedAt.After(last) {
			last = im.UpdatedAt
		}
	}
	return last
}

// configure fills in what the image's configuration says.
func configure(out *inspection, c *dockerspec.DockerOCIImage) error {
	data, err := json.Marshal(c.Config)
	if err != nil {
		return fmt.Errorf("render configuration: %w", err)
	}
	out.Config = maps.Clone(configFields)
	if err := json.Unmarshal(data, &out.Config); err != nil {
		return fmt.Errorf("render configuration: %w", err)
	}
	out.Author, out.Architecture, out.Variant, out.Os, out.OsVersion = c.Author, c.Architecture, c.Variant, c.OS, c.OSVersion
	if c.Created != nil {
		out.Created = c.Created.Format(time.RFC3339Nano)
	}
	if n := len(c.History); n > 0 {
		out.Comment = c.History[n-1].Comment
	}
	out.RootFS.Type, out.RootFS.Layers = c.RootFS.Type, c.RootFS.DiffIDs
	return nil
}

// step is one entry of GET /images/{name}/history.
type step struct {
	ID        string `json:"Id"`
	Created   int64
	CreatedBy string
	Tags      []string
	Size      int64
	Comment   string
}

// history answers GET /images/{name}/history, newest step first.
func (s *Server) history(w http.ResponseWriter, r *http.Request, name string) error {
	ctx := r.Context()
	p, err := platformSince(r, 48)
	if err != nil {
		return err
	}
	im, err := s.store.Resolve(ctx, name)
	if err != nil {
		return err
	}
	v, err := s.store.Best(ctx, im, p)
	if err != nil {
		return err
	}
	names, err := s.store.Names(ctx, im.Target.Digest)
	if err != nil {
		return err
	}
	chain := v.ChainIDs()
	// Steps of an image that does not say when it was made do not either.
	made := imagestore.Made(&v, names)
	out := []step{}
	for _, h := range v.Config.History {
		e := step{ID: "<missing>", CreatedBy: h.CreatedBy, Comment: h.Comment, Created: made.Unix()}
		if h.Created != nil {
			e.Created = h.Created.Unix()
		}
		if !h.EmptyLayer {
			if len(chain) == 0 {
				return fmt.Errorf("history of %s has more layers than the image: %w", name, errdefs.ErrDataLoss)
			}
			if e.Size, err = s.store.SnapshotSize(ctx, chain[0]); err != nil {
				return err
			}
			chain = chain[1:]
		}
		out = append([]step{e}, out...)
	}
	if len(out) > 0 {
		out[0].ID = im.Target.Digest.String()
		if out[0].Tags, _ = imagestore.Tags(names); len(out[0].Tags) == 0 {
			out[0].Tags = nil
		}
	}
	return route.WriteJSON(w, http.StatusOK, out)
}
