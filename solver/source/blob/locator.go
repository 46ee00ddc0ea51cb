package blob

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/source"
)

// Schemes of locators.
const (
	schemeImage  = "docker-image+blob"
	schemeLayout = "oci-layout+blob"
)

// Names of attributes on the wire, beside those of files.
const (
	attrSession    = "oci.session"
	attrStore      = "oci.store"
	attrRecordType = "image.recordtype"
)

// Locator says where a blob is.
type Locator struct {
	// name as it is shown, with the digest.
	name   string
	digest digest.Digest
	// repository of a registry, or empty for a layout.
	repository string
	// store is a client's name of a layout, session the one that has it; an
	// empty session is any of the build's.
	store, session string
}

// Digest of the blob.
func (l Locator) Digest() digest.Digest { return l.digest }

// ParseLocator reads a locator with its scheme. The attributes name session and
// store of a layout; a store that is not named is called as the locator says
// before its digest. Errors are errdefs InvalidArgument.
func ParseLocator(text string, attrs map[string]string) (Locator, error) {
	id, err := source.ParseIdentifier(text, attrs, nil)
	if err != nil {
		return Locator{}, err
	}
	l, err := parse(id)
	if err == nil && l.repository == "" && l.store == "" {
		l.store, _, _ = strings.Cut(id.Ref, "@")
	}
	return l, err
}

// parse reads an identifier; the store stays empty if no attribute names it.
func parse(id source.Identifier) (Locator, error) {
	bad := func(err error) (Locator, error) {
		return Locator{}, fmt.Errorf("blob reference %q: %w: %w", id.Ref, err, errdefs.ErrInvalidArgument)
	}
	var named reference.Reference
	var err error
	switch id.Scheme {
	case schemeImage:
		named, err = reference.ParseNormalizedNamed(id.Ref)
	case schemeLayout:
		named, err = reference.Parse(id.Ref)
	default:
		return bad(fmt.Errorf("scheme %q is not supported, expected %q or %q", id.Scheme, schemeImage, schemeLayout))
	}
	if err != nil {
		return bad(err)
	}
	c, ok := named.(reference.Canonical)
	if _, tagged := named.(reference.Tagged); !ok || tagged {
		return bad(errors.New("must have a digest and no tag"))
	}
	l := Locator{name: c.String(), digest: c.Digest()}
	if id.Scheme == schemeImage {
		l.repository = c.String()
		return l, nil
	}
	l.store, l.session = id.Attrs[attrStore], id.Attrs[attrSession]
	return l, nil
}
