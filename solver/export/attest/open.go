package attest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
)

const (
	// MaxSize is the longest predicate or statement that is read, in bytes.
	MaxSize = 40 << 20
	// maxBundle is how many statements one bundle may have, maxBundled how
	// many bytes they may have together: all of them are in memory at once.
	maxBundle  = 1000
	maxBundled = 4 * MaxSize
)

// MetaCore is the name of an attestation's metadata that tells which file of a
// bundle describes the result itself: the part of its name before the first
// dot. Others describe stages it was made with.
const MetaCore = "sbom-core"

// Select returns the attestations for an exporter: those that travel with
// images only are left out unless inline is set.
func Select(list []export.Attestation, inline bool) []export.Attestation {
	if inline {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(a export.Attestation) bool { return a.InlineOnly })
}

// Open reads attestations about a result with the given layers; none if it is
// no image. Bundles become one document for each statement; those about the
// result itself come first.
func Open(ctx context.Context, list []export.Attestation, layers []ocispecs.Descriptor) ([]Document, error) {
	var docs []Document
	for _, a := range list {
		found, err := open(ctx, a, layers)
		if err != nil {
			return nil, err
		}
		docs = append(docs, found...)
	}
	slices.SortStableFunc(docs, func(a, b Document) int {
		switch {
		case a.Core() == b.Core():
			return 0
		case a.Core():
			return -1
		}
		return 1
	})
	return docs, nil
}

// Core tells whether the document is the one that describes the result itself.
func (d *Document) Core() bool {
	core, ok := d.Metadata[MetaCore]
	name, _, _ := strings.Cut(path.Base(d.Path), ".")
	return ok && name == string(core)
}

func open(ctx context.Context, a export.Attestation, layers []ocispecs.Descriptor) ([]Document, error) {
	switch {
	case a.Bundle && a.Data != nil:
		return nil, invalid("attestation bundle cannot have callback")
	case a.Bundle && a.Ref == nil:
		return nil, invalid("no ref provided for attestation bundle")
	case a.Bundle:
		return openBundle(ctx, a)
	case a.Path == "":
		return nil, invalid("attestation does not have set path")
	case a.Ref == nil && a.Data == nil:
		return nil, invalid("attestation does not have available content")
	case a.Data == nil && strings.HasPrefix(a.PredicateType, predicateProvenance):
		return nil, invalid("frontend may not set provenance attestations")
	}
	data, err := predicate(ctx, a, layers)
	if err != nil {
		return nil, err
	}
	return []Document{{
		PredicateType: a.PredicateType, Path: a.Path, Predicate: data, Subjects: a.Subjects, Metadata: a.Metadata,
	}}, nil
}

// predicate reads what an attestation says. An empty one is JSON's null.
func predicate(ctx context.Context, a export.Attestation, layers []ocispecs.Descriptor) (json.RawMessage, error) {
	read := a.Data
	if read == nil {
		read = func(ctx context.Context, _ []ocispecs.Descriptor) ([]byte, error) { return file(ctx, a, a.Path) }
	}
	data, err := read(ctx, layers)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read in-toto attestation %s: %w", a.Path, err)
	case len(data) == 0:
		return nil, nil
	case !json.Valid(data):
		return nil, invalid("in-toto attestation %s is not JSON", a.Path)
	}
	return data, nil
}

// file reads a file of the attestation's file system.
func file(ctx context.Context, a export.Attestation, name string) ([]byte, error) {
	st, err := a.Ref.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if st.GetSize() > MaxSize {
		return nil, fmt.Errorf("%s exceeds %d bytes: %w", name, MaxSize, errdefs.ErrOutOfRange)
	}
	// A link may lead to something larger than itself.
	data, err := a.Ref.ReadFile(ctx, name, 0, MaxSize)
	if err == nil && len(data) == MaxSize {
		err = fmt.Errorf("%s exceeds %d bytes: %w", name, MaxSize, errdefs.ErrOutOfRange)
	}
	return data, err
}

// openBundle reads every file of a directory as a statement.
func openBundle(ctx context.Context, a export.Attestation) ([]Document, error) {
	entries, err := a.Ref.ReadDir(ctx, a.Path, "")
	if err != nil {
		return nil, fmt.Errorf("read attestation bundle: %w", err)
	}
	if len(entries) > maxBundle {
		return nil, fmt.Errorf("attestation bundle has %d files, at most %d are read: %w", len(entries), maxBundle, errdefs.ErrOutOfRange)
	}
	var docs []Document
	total := 0
	for _, e := range entries {
		name := path.Join(a.Path, e.GetPath())
		data, err := file(ctx, a, name)
		if total += len(data); err == nil && total > maxBundled {
			err = fmt.Errorf("more than %d bytes in all: %w", maxBundled, errdefs.ErrOutOfRange)
		}
		if err != nil {
			return nil, fmt.Errorf("read attestation bundle: %w", err)
		}
		d, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("attestation bundle: %s: %w", name, err)
		}
		if a.PredicateType != "" && d.PredicateType != a.PredicateType {
			return nil, invalid("bundle entry %s does not match required predicate type %s", d.PredicateType, a.PredicateType)
		}
		d.Path, d.Metadata = name, maps.Clone(a.Metadata)
		docs = append(docs, *d)
	}
	return docs, nil
}

// decode reads a statement of a bundle.
func decode(data []byte) (*Document, error) {
	var s Statement
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("cannot decode in-toto statement: %w", errors.Join(err, errdefs.ErrInvalidArgument))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, invalid("in-toto statement is not a single JSON object")
	}
	if strings.HasPrefix(s.PredicateType, predicateProvenance) {
		return nil, invalid("frontend may not bundle provenance attestations")
	}
	d := &Document{PredicateType: s.PredicateType, Predicate: s.Predicate}
	for _, sub := range s.Subject {
		raw := export.Subject{Name: sub.Name}
		for _, algorithm := range slices.Sorted(maps.Keys(sub.Digest)) {
			raw.Digests = append(raw.Digests, digest.NewDigestFromEncoded(digest.Algorithm(algorithm), sub.Digest[algorithm]))
		}
		d.Subjects = append(d.Subjects, raw)
	}
	return d, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}
