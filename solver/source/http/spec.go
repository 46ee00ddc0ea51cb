package http

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/singlefile"
)

// Names of attributes on the wire.
const (
	attrChecksum     = "http.checksum"
	attrAuthSecret   = "http.authheadersecret"
	attrHeaderPrefix = "http.header."
	attrSigKey       = "http.sig.pubkey"
	attrSignature    = "http.sig.signature"
)

const (
	// maxURL and maxHeader bound what a definition may make us send, in bytes.
	maxURL    = 16 << 10
	maxHeader = 8 << 10
)

// header is one request header of the user's. The names are part of keys.
type header struct {
	Name  string
	Value string
}

// spec is what an identifier asks for.
type spec struct {
	// text is the URL as written, target what it means.
	text       string
	target     *url.URL
	checksum   digest.Digest
	file       singlefile.Attributes
	authSecret string
	headers    []header
	// signature and the public keys of which one must have made it, as text;
	// both empty for none.
	signature, keys []byte
}

// parseSpec reads an identifier. Errors are errdefs InvalidArgument.
func parseSpec(id source.Identifier) (*spec, error) {
	s := &spec{text: id.String(), authSecret: id.Attrs[attrAuthSecret]}
	if len(s.text) > maxURL {
		return nil, fmt.Errorf("URL has %d bytes, at most %d: %w", len(s.text), maxURL, errdefs.ErrInvalidArgument)
	}
	var err error
	if s.target, err = url.Parse(s.text); err != nil || s.target.Host == "" {
		// The parser's error would repeat the URL with its password.
		return nil, fmt.Errorf("not a URL with a host: %w", errdefs.ErrInvalidArgument)
	}
	if v := id.Attrs[attrChecksum]; v != "" {
		if s.checksum, err = digest.Parse(v); err != nil {
			return nil, fmt.Errorf("attribute %s %q: %w: %w", attrChecksum, v, err, errdefs.ErrInvalidArgument)
		}
	}
	s.signature, s.keys = []byte(id.Attrs[attrSignature]), []byte(id.Attrs[attrSigKey])
	if (len(s.signature) > 0) != (len(s.keys) > 0) {
		return nil, fmt.Errorf("http signature verification requires both pubkey and signature: set %s and %s: %w",
			attrSigKey, attrSignature, errdefs.ErrInvalidArgument)
	}
	if s.file, err = singlefile.ParseAttributes(id.Attrs); err != nil {
		return nil, err
	}
	return s, s.parseHeaders(id.Attrs)
}

// parseHeaders reads the headers that users may set; others are left out, as
// clients expect.
func (s *spec) parseHeaders(attrs map[string]string) error {
	for k, v := range attrs {
		name, ok := strings.CutPrefix(k, attrHeaderPrefix)
		name = http.CanonicalHeaderKey(name)
		if !ok || name != "Accept" && name != "User-Agent" {
			continue
		}
		if len(v) > maxHeader || strings.ContainsFunc(v, isControl) {
			return fmt.Errorf("attribute %s is not a header value: %w", k, errdefs.ErrInvalidArgument)
		}
		s.headers = append(s.headers, header{name, v})
	}
	slices.SortFunc(s.headers, func(a, b header) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
	return nil
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// shown is the URL without its password.
func (s *spec) shown() string { return s.target.Redacted() }

// local reports whether the client itself holds the file ready.
func (s *spec) local() bool { return s.target.Host == sessionHost }

// question names what the server is asked for. Everything that changes the
// layer is in it, and the credentials' name, so that an answer to one user is
// not taken for one to another.
func (s *spec) question() string {
	b, _ := json.Marshal([]any{s.text, s.file.Filename, s.file.Perm, s.file.UID, s.file.GID, s.authSecret, s.headers})
	return digest.FromBytes(b).Encoded()
}

// key is the identity of the file; its form is a wire format fact, so that
// caches of other builders match.
func (s *spec) key(filename string, d digest.Digest, modified *int64) string {
	k := struct {
		Filename         string
		Perm, UID, GID   int
		Checksum         digest.Digest
		LastModTime      string   `json:",omitempty"`
		AuthHeaderSecret string   `json:",omitempty"`
		Header           []header `json:",omitempty"`
	}{Filename: filename, Perm: s.file.Perm, UID: s.file.UID, GID: s.file.GID, Checksum: d, AuthHeaderSecret: s.authSecret, Header: s.headers}
	if modified != nil {
		k.LastModTime = time.Unix(*modified, 0).UTC().Format(http.TimeFormat)
	}
	b, _ := json.Marshal(k)
	return digest.FromBytes(b).String()
}
