package provenance

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export/attest"
)

// Kind of a Material.
type Kind int

// Kinds, in the order in which materials are listed.
const (
	// Image is an image; Ref is its reference.
	Image Kind = iota
	// Blob is a blob of a registry or layout; Ref is its repository.
	Blob
	// Git is a repository; Ref is its URL with the reference that was asked
	// for as fragment, Pin the commit.
	Git
	// HTTP is a URL; Pin is the digest of its content.
	HTTP
	// LocalDir is a directory of the client; Ref is its name. It has no pin.
	LocalDir
)

// Material is a source as it was resolved.
type Material struct {
	Kind Kind
	Ref  string
	// Pin is a digest, or the commit of a repository; empty if unknown.
	Pin string
	// Platform of an image; may be nil.
	Platform *ocispecs.Platform
	// Layout tells that an image or blob came from a client's OCI layout.
	Layout bool
	// Bundle is where a repository came from instead: the identifier of a
	// blob source. Empty for repositories proper.
	Bundle string
}

// same tells whether two materials name one source.
func (m *Material) same(o *Material) bool {
	if m.Kind != o.Kind || m.Ref != o.Ref || m.Layout != o.Layout || m.Bundle != o.Bundle {
		return false
	}
	if m.Kind != Image || m.Platform == nil || o.Platform == nil {
		return m.Kind != Image || m.Platform == o.Platform
	}
	p, q := platforms.Normalize(*m.Platform), platforms.Normalize(*o.Platform)
	return p.OS == q.OS && p.Architecture == q.Architecture && p.Variant == q.Variant && p.OSVersion == q.OSVersion
}

// Materials is a set of materials.
type Materials []Material

// Add adds m unless its source is there already.
func (ms *Materials) Add(m Material) {
	if m.Kind == Git || m.Kind == HTTP {
		m.Ref = redact(m.Ref)
	}
	if !slices.ContainsFunc(*ms, func(o Material) bool { return o.same(&m) }) {
		*ms = append(*ms, m)
	}
}

// Listed returns the materials in a fixed order, without images that are
// named by digest although their tag is there as well.
func (ms Materials) Listed() Materials {
	tagged := map[string]bool{}
	for _, m := range ms {
		if name, pinned := imageName(m); m.Kind == Image && !pinned {
			tagged[name] = true
		}
	}
	out := slices.DeleteFunc(slices.Clone(ms), func(m Material) bool {
		name, pinned := imageName(m)
		return m.Kind == Image && pinned && tagged[name]
	})
	slices.SortStableFunc(out, func(a, b Material) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Ref, b.Ref))
	})
	return out
}

// imageName is the name of an image with its tag, and whether the reference
// has a digest as well.
func imageName(m Material) (name string, pinned bool) {
	ref, err := reference.ParseNormalizedNamed(m.Ref)
	if err != nil {
		return m.Ref, false
	}
	tag := "latest"
	if t, ok := ref.(reference.Tagged); ok {
		tag = t.Tag()
	}
	_, pinned = ref.(reference.Canonical)
	return ref.Name() + ":" + tag, pinned
}

// locals are the names of the client's directories.
func (ms Materials) locals() []Local {
	var out []Local
	for _, m := range ms {
		if m.Kind == LocalDir {
			out = append(out, Local{Name: m.Ref})
		}
	}
	return out
}

// dependencies are the materials in SLSA's form.
func (ms Materials) dependencies() ([]Dependency, error) {
	var out []Dependency
	for _, m := range ms {
		switch m.Kind {
		case Image, Blob:
			qualifiers := map[string]string{}
			if m.Kind == Blob {
				qualifiers["ref_type"] = "blob"
			}
			uri, err := attest.ImageURL(m.Ref, m.Layout, m.Platform, qualifiers)
			if err != nil {
				return nil, err
			}
			out = append(out, Dependency{URI: uri, Digest: digestSet(m.Pin)})
		case Git:
			out = append(out, Dependency{URI: m.Ref, Digest: commitSet(m.Pin)})
			if d, ok := bundle(m); ok {
				out = append(out, d)
			}
		case HTTP:
			out = append(out, Dependency{URI: m.Ref, Digest: digestSet(m.Pin)})
		case LocalDir:
			// What a client has on its disk cannot be had again.
		}
	}
	return out, nil
}

// bundle is the blob that a repository was read from.
func bundle(m Material) (Dependency, bool) {
	scheme, ref, ok := strings.Cut(m.Bundle, "://")
	name, pin, pinned := strings.Cut(ref, "@")
	if !ok || !pinned {
		return Dependency{}, false
	}
	uri, err := attest.ImageURL(name, strings.HasPrefix(scheme, "oci-layout"), nil, map[string]string{"ref_type": "bundle", "vcs_url": m.Ref})
	return Dependency{URI: uri, Digest: digestSet(pin)}, err == nil
}

// digestSet is a digest as SLSA writes it; nil for none.
func digestSet(pin string) map[string]string {
	d, err := digest.Parse(pin)
	if err != nil {
		return nil
	}
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// sha256Hex is the length of a commit id in repositories of the newer format.
const sha256Hex = 64

// commitSet is a commit as SLSA writes it.
func commitSet(commit string) map[string]string {
	if len(commit) == sha256Hex {
		return map[string]string{"sha256": commit}
	}
	return map[string]string{"sha1": commit}
}

// redacted stands for names and passwords in URLs.
const redacted = "xxxxx"

// redact takes credentials out of a URL; anything else is left as it is.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	user := u.User.Username()
	_, secret := u.User.Password()
	if user != "" {
		user = redacted
	}
	switch {
	case secret:
		u.User = url.UserPassword(user, redacted)
	case user != "":
		u.User = url.User(user)
	}
	return u.String()
}
