package attest

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	packageurl "github.com/package-url/packageurl-go"

	"github.com/kilnbuild/kiln/solver/export"
)

// MediaType is that of a statement (JSON).
const MediaType = "application/vnd.in-toto+json"

// statementType is the only version of statements that is written.
const statementType = "https://in-toto.io/Statement/v1"

// Types of predicates with a meaning here.
const (
	// PredicateSPDX is that of a bill of materials.
	PredicateSPDX = "https://spdx.dev/Document"
	// predicateProvenance begins those that only the builder may make.
	predicateProvenance = "https://slsa.dev/provenance/"
)

// Statement is an in-toto statement; its JSON form is the one on the wire.
type Statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []Subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Subject is what a statement is about: Digest has hexadecimal digests by
// algorithm.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// NewSubject returns a subject with the given digests.
func NewSubject(name string, digests ...digest.Digest) Subject {
	s := Subject{Name: name, Digest: make(map[string]string, len(digests))}
	for _, d := range digests {
		s.Digest[d.Algorithm().String()] = d.Encoded()
	}
	return s
}

// anonymous is the name of a subject that was given none.
const anonymous = "_"

// Document is one predicate and what it is about.
type Document struct {
	PredicateType string
	// Path is where it was found, or the file name that it should get.
	Path string
	// Predicate is JSON.
	Predicate json.RawMessage
	// Subjects as they were given; none means the result itself.
	Subjects []export.Subject
	// Metadata by name.
	Metadata map[string][]byte
}

// Statement binds the document to its subjects; self are those that stand for
// the result itself.
func (d *Document) Statement(self []Subject) Statement {
	s := Statement{Type: statementType, PredicateType: d.PredicateType, Subject: []Subject{}, Predicate: d.Predicate}
	subjects := d.Subjects
	if len(subjects) == 0 {
		subjects = []export.Subject{{Self: true}}
	}
	for _, sub := range subjects {
		if !sub.Self {
			name := sub.Name
			if name == "" {
				name = anonymous
			}
			s.Subject = append(s.Subject, NewSubject(name, sub.Digests...))
			continue
		}
		for _, own := range self {
			s.Subject = append(s.Subject, own)
			if sub.Name != "" && sub.Name != anonymous {
				s.Subject = append(s.Subject, Subject{Name: sub.Name, Digest: own.Digest})
			}
		}
	}
	return s
}

// ImageSubjects returns the subjects that stand for an image manifest: one for
// each of its names, which are separated by commas.
func ImageSubjects(names string, platform ocispecs.Platform, manifest digest.Digest) ([]Subject, error) {
	var out []Subject
	for name := range strings.SplitSeq(names, ",") {
		if name == "" {
			continue
		}
		purl, err := ImageURL(name, false, &platform, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, NewSubject(purl, manifest))
	}
	return out, nil
}

// ImageURL returns the package URL of an image reference, of type "oci" if the
// image is in a layout and "docker" otherwise. A nil platform is left out; more
// has further qualifiers and may be nil.
func ImageURL(ref string, layout bool, platform *ocispecs.Platform, more map[string]string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("name %q in a package URL: %w", ref, err)
	}
	qualifiers := map[string]string{}
	maps.Copy(qualifiers, more)
	if pinned, ok := named.(reference.Canonical); ok {
		qualifiers["digest"] = pinned.Digest().String()
	} else {
		named = reference.TagNameOnly(named)
	}
	if platform != nil {
		qualifiers["platform"] = platforms.Format(platforms.Normalize(*platform))
	}
	var version string
	if tagged, ok := named.(reference.Tagged); ok {
		version = tagged.Tag()
	}
	name, namespace := reference.FamiliarName(named), ""
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name, namespace = name[i+1:], name[:i]
	}
	kind := packageurl.TypeDocker
	if layout {
		kind = packageurl.TypeOCI
	}
	return packageurl.NewPackageURL(kind, namespace, name, version, packageurl.QualifiersFromMap(qualifiers), "").ToString(), nil
}
