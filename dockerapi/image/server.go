package image

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/dockerapi/route"
)

// maxNames bounds the images of one request.
const maxNames = 1000

// Server has the endpoints. Use New.
type Server struct{ store *imagestore.Store }

// New returns the endpoints of a store.
func New(store *imagestore.Store) *Server { return &Server{store} }

// Register adds the endpoints.
func (s *Server) Register(m *route.Mux) {
	// Fixed paths before those with a name, which could be "json".
	m.Handle(http.MethodGet, "/images/json", s.list)
	m.Handle(http.MethodGet, "/images/search", s.search)
	m.Handle(http.MethodGet, "/images/get", s.saveMany)
	m.Handle(http.MethodPost, "/images/create", s.create)
	m.Handle(http.MethodPost, "/images/load", s.load)
	m.Handle(http.MethodPost, "/images/prune", s.prune)
	m.Handle(http.MethodGet, "/images/{name}/json", s.inspect)
	m.Handle(http.MethodGet, "/images/{name}/history", s.history)
	m.Handle(http.MethodGet, "/images/{name}/get", s.saveOne)
	m.Handle(http.MethodPost, "/images/{name}/tag", s.tag)
	m.Handle(http.MethodPost, "/images/{name}/push", s.push)
	m.Handle(http.MethodDelete, "/images/{name}", s.remove)
	m.Handle(http.MethodGet, "/distribution/{name}/json", s.distribution)
}

// search is refused.
func (s *Server) search(http.ResponseWriter, *http.Request, string) error {
	return &route.StatusError{Status: http.StatusNotImplemented,
		Err: fmt.Errorf("a builder does not search registries: use the website or the API of the registry: %w", errdefs.ErrNotImplemented)}
}

// platformJSON reads a platform as newer endpoints take it; nil if there is none.
func platformJSON(text string) (*ocispecs.Platform, error) {
	if text == "" {
		return nil, nil
	}
	var p ocispecs.Platform
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("failed to parse platform: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, fmt.Errorf("both OS and Architecture must be provided: %w", errdefs.ErrInvalidArgument)
	}
	p = platforms.Normalize(p)
	return &p, nil
}

// platformSince is the parameter "platform" for clients of at least version
// 1.minor; older ones may send it without meaning anything.
func platformSince(r *http.Request, minor int) (*ocispecs.Platform, error) {
	all, err := platformsSince(r, minor)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	if len(all) > 1 {
		return nil, errPlatforms
	}
	return &all[0], nil
}

// errPlatforms refuses more than one platform.
var errPlatforms = fmt.Errorf("multiple platform parameters not supported: %w", errdefs.ErrInvalidArgument)

// platformsSince are all platforms of a request; clients before 1.52 know one.
func platformsSince(r *http.Request, minor int) ([]ocispecs.Platform, error) {
	v, list := route.VersionOf(r), r.Form["platform"]
	if v.Before(minor) {
		return nil, nil
	}
	if len(list) > 1 && v.Before(52) || len(list) > maxNames {
		return nil, errPlatforms
	}
	var out []ocispecs.Platform
	for _, text := range list {
		p, err := platformJSON(text)
		if err != nil {
			return nil, err
		}
		if p != nil {
			out = append(out, *p)
		}
	}
	return out, nil
}

// repoTag joins a name and a tag or digest.
func repoTag(repo, tag string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if _, ok := ref.(reference.Digested); ok {
		return nil, fmt.Errorf("refusing to create a tag with a digest reference: %w", errdefs.ErrInvalidArgument)
	}
	if tag == "" {
		return reference.TagNameOnly(ref), nil
	}
	tagged, err := reference.WithTag(ref, tag)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return tagged, nil
}

// credentials are those that a request brings; what cannot be read counts as
// none.
func credentials(r *http.Request) route.Credentials {
	var c route.Credentials
	if route.AuthHeader(r, "X-Registry-Auth", &c) != nil {
		return route.Credentials{}
	}
	return c
}

// tag answers POST /images/{name}/tag.
func (s *Server) tag(w http.ResponseWriter, r *http.Request, name string) error {
	ref, err := repoTag(r.FormValue("repo"), r.FormValue("tag"))
	if err != nil {
		return err
	}
	im, err := s.store.Resolve(r.Context(), name)
	if err != nil {
		return err
	}
	if err := s.store.Tag(r.Context(), im, ref); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// remove answers DELETE /images/{name}.
func (s *Server) remove(w http.ResponseWriter, r *http.Request, name string) error {
	opt := imagestore.RemoveOptions{Force: route.Bool(r, "force")}
	if !route.VersionOf(r).Before(50) {
		list := r.Form["platforms"]
		if len(list) > maxNames {
			return fmt.Errorf("more than %d platforms: %w", maxNames, errdefs.ErrInvalidArgument)
		}
		for _, text := range list {
			p, err := platformJSON(text)
			if err != nil {
				return err
			}
			if p != nil {
				opt.Platforms = append(opt.Platforms, *p)
			}
		}
	}
	done, err := s.store.Remove(r.Context(), name, opt)
	if err != nil {
		return err
	}
	if done == nil {
		done = []imagestore.Removed{}
	}
	return route.WriteJSON(w, http.StatusOK, done)
}

// prune answers POST /images/prune.
func (s *Server) prune(w http.ResponseWriter, r *http.Request, _ string) error {
	f, err := route.ParseFilters(r, "dangling", "until", "label", "label!")
	if err != nil {
		return err
	}
	dangling, err := f.One("dangling", true)
	if err != nil {
		return err
	}
	chosen, err := filter(f, false)
	if err != nil {
		return err
	}
	done, freed, err := s.store.Prune(r.Context(), chosen, !dangling)
	if err != nil {
		return err
	}
	s.store.Pruned(freed)
	return route.WriteJSON(w, http.StatusOK, struct {
		ImagesDeleted  []imagestore.Removed
		SpaceReclaimed int64
	}{done, freed})
}
