package git

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/source"
)

// Names of attributes on the wire.
const (
	attrFullURL        = "git.fullurl"
	attrKeepGitDir     = "git.keepgitdir"
	attrTokenSecret    = "git.authtokensecret"
	attrHeaderSecret   = "git.authheadersecret"
	attrKnownHosts     = "git.knownsshhosts"
	attrSSHSocket      = "git.mountsshsock"
	attrChecksum       = "git.checksum"
	attrSkipSubmodules = "git.skipsubmodules"
	attrMTime          = "git.mtime"
	attrFetchByCommit  = "git.fetchbycommit"
	attrBundle         = "git.bundle"
	attrCheckoutBundle = "git.checkoutbundle"
	attrSigPrefix      = "git.sig."
)

const (
	// maxRef and maxKnownHosts bound attributes, in bytes.
	maxRef        = 1024
	maxKnownHosts = 1 << 20
)

// spec is what an identifier asks for.
type spec struct {
	remote remote
	// ref is a branch, a tag, a full reference, a commit id, or empty for the
	// default branch.
	ref string
	// subdir is clean and relative; empty for everything.
	subdir string
	// checksum is the beginning of a commit id in lower case, or empty.
	checksum string
	// Names of secrets, and of the agent; empty for none.
	tokenSecret, headerSecret, sshID string
	// knownHosts are lines in the form of ssh's file of that name.
	knownHosts                                            string
	keepGitDir, skipSubmodules, commitTime, fetchByCommit bool
}

var checksumForm = regexp.MustCompile(`^[a-fA-F0-9]+$`)

// parseSpec reads an identifier. Errors are errdefs InvalidArgument, or
// NotImplemented for bundles and signatures.
func parseSpec(id source.Identifier) (*spec, error) {
	for name := range id.Attrs {
		if name == attrBundle || name == attrCheckoutBundle || strings.HasPrefix(name, attrSigPrefix) {
			return nil, fmt.Errorf("attribute %s: this builder has neither git bundles nor git signatures, pin the commit with %s: %w",
				name, attrChecksum, errdefs.ErrNotImplemented)
		}
	}
	s := &spec{
		tokenSecret: id.Attrs[attrTokenSecret], headerSecret: id.Attrs[attrHeaderSecret], sshID: id.Attrs[attrSSHSocket],
		knownHosts: id.Attrs[attrKnownHosts], checksum: id.Attrs[attrChecksum],
		keepGitDir: id.Attrs[attrKeepGitDir] == "true", skipSubmodules: id.Attrs[attrSkipSubmodules] == "true",
		fetchByCommit: id.Attrs[attrFetchByCommit] == "true",
	}
	if err := s.parseLocation(id); err != nil {
		return nil, err
	}
	if err := checkRef(s.ref); err != nil {
		return nil, err
	}
	if s.checksum != "" && !checksumForm.MatchString(s.checksum) {
		return nil, fmt.Errorf("invalid checksum %s for Git URL, expected hex commit hash: %w", s.checksum, errdefs.ErrInvalidArgument)
	}
	s.checksum = strings.ToLower(s.checksum)
	if len(s.knownHosts) > maxKnownHosts {
		return nil, fmt.Errorf("attribute %s has more than %d bytes: %w", attrKnownHosts, maxKnownHosts, errdefs.ErrInvalidArgument)
	}
	switch v := id.Attrs[attrMTime]; v {
	case "", "checkout":
	case "commit":
		s.commitTime = true
	default:
		return nil, fmt.Errorf("attribute %s is %q, want checkout or commit: %w", attrMTime, v, errdefs.ErrInvalidArgument)
	}
	return s, s.checkCommits()
}

// parseLocation reads remote, reference and subdirectory. The identifier may
// leave the protocol out; the attribute with the full URL overrides its remote.
func (s *spec) parseLocation(id source.Identifier) error {
	text := id.Ref
	if !isTransport(text) {
		text = "https://" + text
	}
	rem, fragment, err := parseRemote(text)
	if err != nil {
		return err
	}
	s.remote = rem
	s.ref, s.subdir = splitFragment(fragment)
	full := id.Attrs[attrFullURL]
	if full == "" {
		return nil
	}
	if !isTransport(full) && !schemeForm.MatchString(full) {
		full = "https://" + full
	}
	if s.remote, _, err = parseRemote(full); err != nil {
		return fmt.Errorf("attribute %s: %w", attrFullURL, err)
	}
	return nil
}

// checkCommits compares what is known of the commit before anybody is asked.
func (s *spec) checkCommits() error {
	if isCommit(s.ref) {
		if !strings.HasPrefix(s.ref, s.checksum) {
			return checksumError(s.checksum, s.ref, "")
		}
		return nil
	}
	switch {
	case !s.fetchByCommit:
	case s.checksum == "":
		return fmt.Errorf("fetch-by-commit requires a checksum or a commit SHA ref: %w", errdefs.ErrInvalidArgument)
	case !isCommit(s.checksum):
		return fmt.Errorf("fetch-by-commit requires a full commit SHA checksum, got %q: %w", s.checksum, errdefs.ErrInvalidArgument)
	}
	return nil
}

// checksumError says that a commit is not the one that was asked for.
func checksumError(want, got, peeled string) error {
	if peeled != "" && peeled != got {
		got += " or " + peeled
	}
	return fmt.Errorf("expected checksum to match %s, got %s: %w", want, got, errdefs.ErrFailedPrecondition)
}

// isCommit reports whether s is a whole object id.
func isCommit(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

// checkRef refuses what git would not take for the name of a reference: names
// that are options, patterns, ranges or revisions to be computed.
func checkRef(s string) error {
	bad := len(s) > maxRef || strings.HasPrefix(s, "-") || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || strings.HasSuffix(s, ".") ||
		strings.ContainsAny(s, " ~^:?*[\\") || strings.ContainsFunc(s, isControl) ||
		strings.Contains(s, "..") || strings.Contains(s, "@{") || strings.Contains(s, "//") || s == "@"
	for part := range strings.SplitSeq(s, "/") {
		bad = bad || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fmt.Errorf("invalid git ref %q: %w", s, errdefs.ErrInvalidArgument)
	}
	return nil
}

// key is the identity of a checkout; its form is a wire format fact, so that
// caches of other builders match.
func (s *spec) key(r resolved) string {
	id := r.Checksum
	if r.CommitChecksum != "" && !s.keepGitDir {
		// Several tags of one commit are one checkout.
		id = r.CommitChecksum
	}
	if s.keepGitDir {
		id += ".git"
		if r.Ref != "" {
			id += "#" + r.Ref
		}
	}
	if s.subdir != "" {
		id += ":" + s.subdir
	}
	if s.skipSubmodules {
		id += "(skip-submodules)"
	}
	if s.commitTime {
		id += "(mtime=commit)"
	}
	return id
}
