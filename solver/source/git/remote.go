package git

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

// maxRemote bounds a remote, in bytes.
const maxRemote = 4096

// protocols that remotes may use. Files of this machine are none of them.
var protocols = map[string]bool{"http": true, "https": true, "ssh": true, "git": true}

var (
	schemeForm = regexp.MustCompile(`^([a-zA-Z0-9+.-]+)://`)
	// scpForm is user@host:path. Neither user nor host can begin like an
	// option of ssh.
	scpForm = regexp.MustCompile(`^([a-zA-Z0-9_][a-zA-Z0-9_.-]*)@([a-zA-Z0-9][a-zA-Z0-9.-]*):([^#?]*)(?:\?[^#]*)?(?:#(.*))?$`)
	// hostForm is a host name or address with an optional port.
	hostForm = regexp.MustCompile(`^(?:[a-zA-Z0-9_][a-zA-Z0-9_.-]*|\[[0-9a-fA-F:.]+\])(?::[0-9]+)?$`)
)

// remote is where a repository is.
type remote struct {
	// url is what git is given; it has no password.
	url string
	// scheme is one of protocols.
	scheme string
	// host with port, as in the URL.
	host string
	// auth is the header for the user and password that were in the URL.
	auth string
}

// String returns the URL; it has no password.
func (r remote) String() string { return r.url }

// isTransport reports whether s says by itself how to reach a repository.
func isTransport(s string) bool {
	if m := schemeForm.FindStringSubmatch(s); m != nil {
		return protocols[strings.ToLower(m[1])]
	}
	return scpForm.MatchString(s)
}

// parseRemote reads a URL or user@host:path, and the fragment behind it. Errors
// are errdefs InvalidArgument and do not repeat what may be a password.
func parseRemote(s string) (r remote, fragment string, err error) {
	if len(s) > maxRemote || strings.ContainsFunc(s, isControl) {
		return remote{}, "", fmt.Errorf("git remote is longer than %d bytes or has control characters: %w", maxRemote, errdefs.ErrInvalidArgument)
	}
	if !schemeForm.MatchString(s) {
		m := scpForm.FindStringSubmatch(s)
		if m == nil || m[3] == "" || strings.HasPrefix(m[3], "-") {
			return remote{}, "", fmt.Errorf("git remote is neither a URL nor user@host:path: %w", errdefs.ErrInvalidArgument)
		}
		return remote{url: m[1] + "@" + m[2] + ":" + m[3], scheme: "ssh", host: m[2]}, m[4], nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return remote{}, "", fmt.Errorf("git remote is not a URL: %w", errdefs.ErrInvalidArgument)
	}
	r.scheme, r.host = strings.ToLower(u.Scheme), u.Host
	switch {
	case !protocols[r.scheme]:
		return remote{}, "", fmt.Errorf("git remote has protocol %q, want http, https, ssh or git: %w", u.Scheme, errdefs.ErrInvalidArgument)
	case !hostForm.MatchString(u.Host):
		return remote{}, "", fmt.Errorf("git remote has host %q: %w", u.Host, errdefs.ErrInvalidArgument)
	case strings.ContainsFunc(u.Path, isControl), strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-"):
		return remote{}, "", fmt.Errorf("git remote has path %q: %w", u.Path, errdefs.ErrInvalidArgument)
	}
	user := u.User
	u.User, u.RawQuery, u.ForceQuery = nil, "", false
	fragment, u.Fragment, u.RawFragment = u.Fragment, "", ""
	if user != nil {
		switch r.scheme {
		case "ssh":
			// Only the name: git would not use the password either.
			if !userForm.MatchString(user.Username()) {
				return remote{}, "", fmt.Errorf("git remote has user %q: %w", user.Username(), errdefs.ErrInvalidArgument)
			}
			u.User = url.User(user.Username())
		case "http", "https":
			pass, _ := user.Password()
			r.auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+pass))
		}
	}
	r.url = u.String()
	return r, fragment, nil
}

var userForm = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`)

// resolve returns what a submodule's URL means in a repository at r.
func (r remote) resolve(s string) (remote, error) {
	if strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") {
		base := strings.TrimRight(r.url, "/")
		for {
			if rest, ok := strings.CutPrefix(s, "./"); ok {
				s = rest
				continue
			}
			rest, ok := strings.CutPrefix(s, "../")
			if !ok {
				break
			}
			s = rest
			i := strings.LastIndexAny(base, "/:")
			if i < 0 || strings.HasSuffix(base[:i+1], "//") {
				return remote{}, fmt.Errorf("leads above the host of %s: %w", r, errdefs.ErrInvalidArgument)
			}
			if base[i] == ':' {
				// user@host:repo, whose parent is user@host:
				i++
			}
			base = base[:i]
		}
		if !strings.HasSuffix(base, ":") {
			base += "/"
		}
		s = base + s
	}
	out, _, err := parseRemote(s)
	return out, err
}

// tokenScope is the prefix of the URLs that a token for r is sent to. Tokens of
// github.com are good for all of it, which is what its own tools assume.
func (r remote) tokenScope() string {
	for _, p := range []string{"https://github.com/", "https://www.github.com/"} {
		if strings.HasPrefix(r.url, p) {
			return p
		}
	}
	return r.url
}

// splitFragment reads "ref:subdir". The subdirectory is clean and relative.
func splitFragment(s string) (ref, subdir string) {
	ref, subdir, _ = strings.Cut(s, ":")
	return ref, cleanSubdir(subdir)
}

func cleanSubdir(s string) string { return path.Join("/", s)[1:] }

func isControl(c rune) bool { return c < 0x20 || c == 0x7f }
