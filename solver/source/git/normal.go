package git

import (
	"net/url"
	"strings"

	"github.com/kilnbuild/kiln/solver/source"
)

var _ source.Normalizer = (*Source)(nil)

// Normalize returns host, path, reference and subdirectory of what would be
// fetched: however the remote is written, and whatever protocol and user it is
// reached with, it is the same repository.
func (*Source) Normalize(id source.Identifier) (string, error) {
	s := &spec{}
	if err := s.parseLocation(id); err != nil {
		return "", err
	}
	out := s.remote.location()
	if s.ref != "" || s.subdir != "" {
		out += "#" + s.ref
	}
	if s.subdir != "" {
		out += ":" + s.subdir
	}
	return out, nil
}

// location is the remote without protocol, user and query.
func (r remote) location() string {
	if !schemeForm.MatchString(r.url) {
		_, path, _ := strings.Cut(r.url, ":")
		return strings.ToLower(r.host) + cleanPath(path)
	}
	u, err := url.Parse(r.url)
	if err != nil {
		return r.url
	}
	return strings.ToLower(r.host) + cleanPath(u.Path)
}

// cleanPath is an absolute path without detours.
func cleanPath(s string) string { return "/" + cleanSubdir(s) }
