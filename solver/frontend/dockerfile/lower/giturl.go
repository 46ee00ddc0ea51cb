package lower

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver/llb/compose"
)

// GitURL is a repository with what to take of it, as people write it: a URL
// with #ref:subdir or ?ref=…&subdir=…
type GitURL struct {
	// Remote is the URL without fragment and query.
	Remote string
	// Ref, Subdir and Checksum are "" when not given.
	Ref, Subdir, Checksum string
	// LooksLocal tells the form github.com/…, which may just as well be a path;
	// only contexts take it for a repository.
	LooksLocal bool
	// KeepGitDir and Submodules are nil when not said.
	KeepGitDir, Submodules *bool
	// MTime is "checkout", "commit" or "".
	MTime string
	// FetchByCommit fetches Checksum without looking at Ref's.
	FetchByCommit bool
}

// Source is the repository as a source of a graph.
func (g *GitURL) Source() compose.GitSource {
	return compose.GitSource{
		URL: g.Remote, Ref: g.Ref, Subdir: g.Subdir, Checksum: g.Checksum, MTime: g.MTime, FetchByCommit: g.FetchByCommit,
		KeepGitDir: g.KeepGitDir != nil && *g.KeepGitDir, SkipSubmodules: g.Submodules != nil && !*g.Submodules,
	}
}

// scheme tells URLs from paths. scpForm is git's short form user@host:path,
// which has no scheme.
var (
	scheme  = regexp.MustCompile(`^[a-zA-Z0-9]+://`)
	scpForm = regexp.MustCompile(`^([a-zA-Z0-9-_.]+@[a-zA-Z0-9-.]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?$`)
)

// ParseGit reads a repository's URL. Text that is none gives nil and no error;
// an error says that the URL is a repository's but asks for something
// impossible.
func ParseGit(text string) (*GitURL, error) {
	out, query, fragment, ok := splitGit(text)
	if !ok {
		return nil, nil
	}
	if fragment != "" {
		ref, subdir, _ := strings.Cut(fragment, ":")
		out.Ref, out.Subdir = ref, strings.TrimPrefix(path.Join("/", subdir), "/")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, nil //nolint:nilerr // not a URL
	}
	return out, out.query(values)
}

// splitGit tells repositories from other texts and takes their URLs apart.
func splitGit(text string) (out *GitURL, query, fragment string, ok bool) {
	if strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		return nil, "", "", false
	}
	if local := strings.HasPrefix(text, "github.com/"); local || scheme.MatchString(text) {
		parsed, err := url.Parse(text)
		if err != nil {
			return nil, "", "", false
		}
		switch strings.ToLower(parsed.Scheme) {
		case "http", "https":
			if !strings.HasSuffix(parsed.Path, ".git") {
				return nil, "", "", false
			}
		case "git", "ssh", "":
		default:
			return nil, "", "", false
		}
		query, fragment = parsed.RawQuery, parsed.Fragment
		parsed.RawQuery, parsed.Fragment, parsed.RawFragment = "", "", ""
		return &GitURL{Remote: parsed.String(), LooksLocal: local}, query, fragment, true
	}
	if parts := scpForm.FindStringSubmatch(text); parts != nil {
		return &GitURL{Remote: parts[1] + ":" + parts[2]}, parts[3], parts[4], true
	}
	return nil, "", "", false
}

// query reads what the query asks for.
func (g *GitURL) query(values url.Values) error {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		given := values[key]
		if len(given) > 1 {
			return fmt.Errorf("query %q has multiple values", key)
		}
		if err := g.parameter(key, given[0]); err != nil {
			return err
		}
	}
	return g.named(values.Get("tag"), values.Get("branch"))
}

// parameter reads one parameter but tag and branch.
func (g *GitURL) parameter(key, value string) (err error) {
	switch key {
	case "submodules":
		g.Submodules, err = boolParameter(key, value)
		return err
	case "keep-git-dir":
		g.KeepGitDir, err = boolParameter(key, value)
		return err
	case "fetch-by-commit":
		on, err := boolParameter(key, value)
		g.FetchByCommit = on != nil && *on
		return err
	}
	if value == "" {
		return fmt.Errorf("query %q has no value", key)
	}
	switch key {
	case "ref":
		return agree("ref", &g.Ref, value)
	case "subdir":
		return agree("subdir", &g.Subdir, value)
	case "checksum", "commit":
		g.Checksum = value
	case "mtime":
		if value != "checkout" && value != "commit" {
			return fmt.Errorf("invalid mtime value: %q (must be \"checkout\" or \"commit\")", value)
		}
		g.MTime = value
	case "tag", "branch":
	default:
		return fmt.Errorf("unexpected query %q", key)
	}
	return nil
}

// named makes a ref of a tag or a branch.
func (g *GitURL) named(tag, branch string) error {
	if tag != "" && branch != "" {
		return errors.New("branch conflicts with tag")
	}
	if tag != "" {
		return agree("ref", &g.Ref, "refs/tags/"+strings.TrimPrefix(tag, "refs/tags/"))
	}
	if branch != "" {
		return agree("ref", &g.Ref, "refs/heads/"+strings.TrimPrefix(branch, "refs/heads/"))
	}
	return nil
}

// agree sets a field that may have been given in another way.
func agree(what string, field *string, value string) error {
	if *field != "" && *field != value {
		return fmt.Errorf("%s conflicts: %q vs %q", what, *field, value)
	}
	*field = value
	return nil
}

// boolParameter reads a parameter that may stand without a value, which means
// true.
func boolParameter(key, value string) (*bool, error) {
	on := true
	if value != "" {
		var err error
		if on, err = strconv.ParseBool(value); err != nil {
			return nil, fmt.Errorf("invalid %s value: %q", key, value)
		}
	}
	return &on, nil
}
