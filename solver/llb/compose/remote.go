package compose

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// FileSource says what file a single-file source becomes. Nil fields take the
// builder's defaults: mode 0600, owner 0:0.
type FileSource struct {
	// Filename is empty for the name that the source itself has.
	Filename string
	// Mode holds permission bits.
	Mode     *uint32
	UID, GID *int
}

// apply sets the attributes; the capabilities depend on the kind of source.
func (f FileSource) apply(source *sourceOp, modeCaps, ownerCaps []string) {
	source.set("http.filename", f.Filename)
	if f.Mode != nil {
		source.set("http.perm", "0"+strconv.FormatUint(uint64(*f.Mode), 8), modeCaps...)
	}
	if f.UID != nil {
		source.set("http.uid", strconv.Itoa(*f.UID), ownerCaps...)
	}
	if f.GID != nil {
		source.set("http.gid", strconv.Itoa(*f.GID), ownerCaps...)
	}
}

// HTTPSource is a file behind a URL.
type HTTPSource struct {
	// URL has the scheme http or https.
	URL  string
	File FileSource
	// Checksum is what the digest of the file must be; empty means anything.
	Checksum digest.Digest
	// AuthHeaderSecret is the id of a secret with an Authorization header.
	AuthHeaderSecret string
	// Accept and UserAgent are request headers.
	Accept, UserAgent string
	// PubKey and Signature, both armored, must vouch for the file.
	PubKey, Signature string
}

// HTTP is a directory with one file, fetched from a URL.
func HTTP(file HTTPSource, info Info) State {
	if !strings.HasPrefix(file.URL, "http://") && !strings.HasPrefix(file.URL, "https://") {
		return Failed(fmt.Errorf("invalid http source %q: want http:// or https://", file.URL))
	}
	source := newSource(file.URL, "source.http")
	file.File.apply(source, []string{"source.http.perm"}, []string{"soruce.http.uidgid"})
	source.set("http.checksum", file.Checksum.String(), "source.http.checksum")
	source.set("http.authheadersecret", file.AuthHeaderSecret, "source.http.auth")
	source.set("http.header.accept", file.Accept, "source.http.header")
	source.set("http.header.user-agent", file.UserAgent, "source.http.header")
	source.set("http.sig.pubkey", file.PubKey, "source.http.signatureverify")
	source.set("http.sig.signature", file.Signature, "source.http.signatureverify")
	return newState(source, info)
}

// BlobSource is one blob of a registry or, with Layout, of an OCI layout.
type BlobSource struct {
	// Ref is name@digest, without a tag.
	Ref  string
	File FileSource
	// RecordType is as for ImageSource; registry only.
	RecordType string
	// Layout reads from an OCI layout; StoreID names it and SessionID the
	// client that has it.
	Layout             bool
	SessionID, StoreID string
}

// Blob is a directory with one file, the blob.
func Blob(blob BlobSource, info Info) State {
	scheme := "docker-image+blob://"
	if blob.Layout {
		scheme = "oci-layout+blob://"
	}
	source := newSource(scheme+blob.Ref, "source.imageblob")
	blob.File.apply(source, nil, nil)
	source.set("image.recordtype", blob.RecordType)
	source.set("oci.session", blob.SessionID)
	source.set("oci.store", blob.StoreID)
	return newState(source, info)
}

// Ids of the secrets that a git source tries when none are named.
const (
	DefaultGitAuthToken  = "GIT_AUTH_TOKEN"
	DefaultGitAuthHeader = "GIT_AUTH_HEADER"
)

// GitSource is a commit of a git repository.
type GitSource struct {
	// URL is the remote, without a fragment; user@host:path is allowed. One
	// without a scheme is taken as https.
	URL string
	// Ref is a branch, tag or commit; empty means the default branch.
	Ref string
	// Subdir is the directory to take; empty means all.
	Subdir string
	// KeepGitDir keeps the .git directory.
	KeepGitDir bool
	// Checksum is what the commit must begin with.
	Checksum string
	// SkipSubmodules leaves submodules empty.
	SkipSubmodules bool
	// MTime is "checkout" or "commit"; empty means checkout.
	MTime string
	// FetchByCommit asks the server for the commit, not for the ref.
	FetchByCommit bool
	// AuthTokenSecret and AuthHeaderSecret are ids of secrets; empty means
	// the default ones.
	AuthTokenSecret, AuthHeaderSecret string
	// KnownSSHHosts is the text of a known_hosts file.
	KnownSSHHosts string
	// MountSSHSock is the id of a forwarded agent. Empty means the default
	// one if the remote is reached by SSH, else none.
	MountSSHSock string
	// Bundle reads the repository from a git bundle in a registry or layout:
	// docker-image+blob://… or oci-layout+blob://…. It needs Checksum.
	Bundle                         string
	BundleSessionID, BundleStoreID string
	// CheckoutBundle makes a bundle in place of a work tree.
	CheckoutBundle bool
	// Signature demands a signed commit or tag; nil for none.
	Signature *GitSignature
}

// GitSignature says which signature a git source must carry.
type GitSignature struct {
	// PubKey is an armored PGP or an SSH public key.
	PubKey string
	// RejectExpired refuses signatures of expired keys.
	RejectExpired bool
	// RequireSignedTag wants the tag to be signed, IgnoreSignedTag the commit.
	RequireSignedTag, IgnoreSignedTag bool
}

// Git is the work tree of a commit.
func Git(git GitSource, info Info) State {
	remote, host, ssh, err := parseRemote(git.URL)
	if err != nil {
		return Failed(err)
	}
	// Host and path alone name the repository, so that two ways to reach it
	// are the same source.
	identifier := "git://" + host
	subdir := strings.TrimPrefix(path.Join("/", git.Subdir), "/")
	if git.Ref != "" || subdir != "" {
		identifier += "#" + git.Ref
	}
	if subdir != "" {
		identifier += ":" + subdir
	}
	source := newSource(identifier, "source.git")
	source.set("git.fullurl", remote, "source.git.fullurl")
	source.setBool("git.keepgitdir", git.KeepGitDir, "source.git.keepgitdir")
	source.set("git.checksum", git.Checksum, "source.git.checksum")
	source.setBool("git.skipsubmodules", git.SkipSubmodules, "source.git.skipsubmodules")
	source.set("git.mtime", git.MTime, "source.git.mtime")
	source.setBool("git.fetchbycommit", git.FetchByCommit, "source.git.fetchbycommit")
	git.applyAuth(source, ssh)
	git.applyBundle(source)
	return newState(source, info)
}

func (g GitSource) applyAuth(source *sourceOp, ssh bool) {
	source.set("git.authtokensecret", DefaultGitAuthToken)
	source.set("git.authtokensecret", g.AuthTokenSecret, "source.git.httpauth")
	source.set("git.authheadersecret", DefaultGitAuthHeader)
	source.set("git.authheadersecret", g.AuthHeaderSecret, "source.git.httpauth")
	source.set("git.knownsshhosts", g.KnownSSHHosts, "source.git.knownsshhosts")
	sock := g.MountSSHSock
	if sock == "" && ssh {
		sock = "default"
	}
	source.set("git.mountsshsock", sock, "source.git.mountsshsock")
	if s := g.Signature; s != nil {
		source.set("git.sig.pubkey", s.PubKey, "source.git.signatureverify")
		source.setBool("git.sig.rejectexpired", s.RejectExpired)
		source.setBool("git.sig.requiresignedtag", s.RequireSignedTag)
		source.setBool("git.sig.ignoresignedtag", s.IgnoreSignedTag)
	}
}

func (g GitSource) applyBundle(source *sourceOp) {
	source.set("git.bundle", g.Bundle, "source.git.bundle")
	source.set("oci.session", g.BundleSessionID)
	source.set("oci.store", g.BundleStoreID)
	source.setBool("git.checkoutbundle", g.CheckoutBundle, "source.git.checkoutbundle")
}

// scpRemote is the short form of an SSH remote: user@host:path.
var scpRemote = regexp.MustCompile(`^[a-zA-Z0-9._-]+@([^:/]+):(.+)$`)

// parseRemote returns the full remote, the host and path that name the
// repository, and whether it is reached by SSH.
func parseRemote(remote string) (full, name string, ssh bool, err error) {
	if parts := scpRemote.FindStringSubmatch(remote); parts != nil {
		return remote, parts[1] + path.Join("/", parts[2]), true, nil
	}
	if !strings.Contains(remote, "://") {
		remote = "https://" + remote
	}
	parsed, err := url.Parse(remote)
	if err != nil {
		return "", "", false, fmt.Errorf("parse git remote: %w", err)
	}
	if parsed.Host == "" {
		return "", "", false, fmt.Errorf("invalid git remote %q: it has no host", remote)
	}
	if parsed.Fragment != "" {
		return "", "", false, fmt.Errorf("invalid git remote %q: give the ref and directory apart from the URL", remote)
	}
	return remote, parsed.Host + path.Join("/", parsed.Path), parsed.Scheme == "ssh", nil
}
