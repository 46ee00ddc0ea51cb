package git

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/blob"
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
	attrSigKey         = "git.sig.pubkey"
	attrSigExpired     = "git.sig.rejectexpired"
	attrSigRequireTag  = "git.sig.requiresignedtag"
	attrSigIgnoreTag   = "git.sig.ignoresignedtag"
	// attrOpenModes is the builder's own: see spec.openModes.
	attrOpenModes = "git.openmodes"
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
	// openModes lets everybody write to files that are no programs, as
	// checkouts of long ago did.
	openModes bool
	// bundle is where the objects are, instead of at the remote; nil for the
	// remote.
	bundle *blob.Locator
	// asBundle wants one file with the commit and its history, no checkout.
	asBundle bool
	// signed is what signature the commit must have; nil for none.
	signed *signed
}

// signed says which signature is good enough.
type signed struct {
	// keys of which one must have made it, as text.
	keys []byte
	// rejectExpired refuses keys and signatures that are expired by now.
	rejectExpired bool
	// requireTag wants the signature on an annotated tag, ignoreTag on the
	// commit; without either one of them is enough.
	requireTag, ignoreTag bool
}

var checksumForm = regexp.MustCompile(`^[a-fA-F0-9]+$`)

// parseSpec reads an identifier. Errors are errdefs InvalidArgument.
func parseSpec(id source.Identifier) (*spec, error) {
	s := &spec{
		tokenSecret: id.Attrs[attrTokenSecret], headerSecret: id.Attrs[attrHeaderSecret], sshID: id.Attrs[attrSSHSocket],
		knownHosts: id.Attrs[attrKnownHosts], checksum: id.Attrs[attrChecksum],
		keepGitDir: id.Attrs[attrKeepGitDir] == "true", skipSubmodules: id.Attrs[attrSkipSubmodules] == "true",
		fetchByCommit: id.Attrs[attrFetchByCommit] == "true", asBundle: id.Attrs[attrCheckoutBundle] == "true",
		openModes: id.Attrs[attrOpenModes] == "true",
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
	if err := s.parseSigned(id.Attrs); err != nil {
		return nil, err
	}
	if err := s.parseBundle(id.Attrs); err != nil {
		return nil, err
	}
	return s, s.checkCommits()
}

// parseSigned reads what signature is wanted.
func (s *spec) parseSigned(attrs map[string]string) error {
	w := signed{
		keys: []byte(attrs[attrSigKey]), rejectExpired: attrs[attrSigExpired] == "true",
		requireTag: attrs[attrSigRequireTag] == "true", ignoreTag: attrs[attrSigIgnoreTag] == "true",
	}
	switch {
	case len(w.keys) > 0:
	case w.rejectExpired || w.requireTag || w.ignoreTag:
		return fmt.Errorf("git signature verification requires a public key: set %s: %w", attrSigKey, errdefs.ErrInvalidArgument)
	default:
		return nil
	}
	if w.requireTag && w.ignoreTag {
		return fmt.Errorf("attributes %s and %s exclude each other: %w", attrSigRequireTag, attrSigIgnoreTag, errdefs.ErrInvalidArgument)
	}
	s.signed = &w
	return nil
}

// parseBundle reads where a bundle comes from, and checks what goes with one.
func (s *spec) parseBundle(attrs map[string]string) error {
	if s.asBundle && s.keepGitDir {
		return fmt.Errorf("%s is incompatible with %s: %w", attrCheckoutBundle, attrKeepGitDir, errdefs.ErrInvalidArgument)
	}
	if s.asBundle && s.subdir != "" {
		return fmt.Errorf("%s is incompatible with a subdirectory: %w", attrCheckoutBundle, errdefs.ErrInvalidArgument)
	}
	text := attrs[attrBundle]
	if text == "" {
		return nil
	}
	l, err := blob.ParseLocator(text, attrs)
	if err != nil {
		return fmt.Errorf("attribute %s: %w", attrBundle, err)
	}
	if !isCommit(s.checksum) {
		return fmt.Errorf("%s requires %s to be set to a whole commit id: %w", attrBundle, attrChecksum, errdefs.ErrInvalidArgument)
	}
	s.bundle = &l
	return nil
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
	case !s.fetchByCommit, s.bundle != nil:
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
	if s.openModes {
		id += "(openmodes)"
	}
	if s.asBundle {
		id += "(bundle)"
	}
	return id
}
