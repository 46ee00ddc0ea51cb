package route

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Version is an API version.
type Version struct{ Major, Minor int }

// Versions that are answered: those between Oldest and Newest.
var (
	Newest = Version{1, 52}
	Oldest = Version{1, 24}
)

// String returns the version as in paths, without "v".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Before tells whether v is older than 1.minor.
func (v Version) Before(minor int) bool { return v.Major < 1 || v.Major == 1 && v.Minor < minor }

func (v Version) less(o Version) bool {
	return v.Major < o.Major || v.Major == o.Major && v.Minor < o.Minor
}

// splitVersion takes the version off a path; ok is false if there is none.
func splitVersion(path string) (v Version, rest string, ok bool) {
	text, found := strings.CutPrefix(path, "/v")
	if !found {
		return Newest, path, false
	}
	text, rest, _ = strings.Cut(text, "/")
	major, minor, found := strings.Cut(text, ".")
	if !found {
		return Newest, path, false
	}
	var okMajor, okMinor bool
	v.Major, okMajor = number(major)
	v.Minor, okMinor = number(minor)
	if !okMajor || !okMinor {
		return Newest, path, false
	}
	return v, "/" + rest, true
}

// number reads a part of a version: digits, without a sign.
func number(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err == nil
}

// check refuses versions that are not answered, in the words clients know.
func (v Version) check() error {
	switch {
	case v.less(Oldest):
		return fmt.Errorf("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version: %w",
			v, Oldest, errdefs.ErrInvalidArgument)
	case Newest.less(v):
		return fmt.Errorf("client version %s is too new. Maximum supported API version is %s: %w", v, Newest, errdefs.ErrInvalidArgument)
	}
	return nil
}

type versionKey struct{}

// VersionOf is the API version of a request.
func VersionOf(r *http.Request) Version {
	if v, ok := r.Context().Value(versionKey{}).(Version); ok {
		return v
	}
	return Newest
}

func withVersion(r *http.Request, v Version) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), versionKey{}, v))
}
