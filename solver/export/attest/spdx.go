package attest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Members of SPDX documents (https://spdx.github.io/spdx-spec/v2.3/) that are
// read or written here; all others stay as they are.
const (
	spdxFiles    = "files"
	spdxPackages = "packages"
	spdxName     = "fileName"
	spdxComment  = "comment"
	spdxCreation = "creationInfo"
	spdxCreators = "creators"
)

// Locate returns the digests of the layers that files of a result are from, by
// the names it is asked for; those it does not know are left out.
type Locate func(ctx context.Context, names []string) (map[string]digest.Digest, error)

// object is a JSON object whose members nobody has looked into.
type object map[string]json.RawMessage

// Supplement adds to the bill of materials of a result which layer each of its
// files is from, as a comment of the file, and creator to those who made the
// document. Comments that are there already stay: scanners may count on them.
// Other documents are left alone, as are those that are no SPDX in JSON.
func (d *Document) Supplement(ctx context.Context, locate Locate, creator string) error {
	if !d.Core() || d.PredicateType != PredicateSPDX {
		return nil
	}
	doc, ok := parseSPDX(d.Predicate)
	if !ok {
		return nil
	}
	var names []string
	for _, f := range doc.files {
		if name, ok := f.wanted(); ok {
			names = append(names, name)
		}
	}
	layers, err := locate(ctx, names)
	if err != nil {
		return fmt.Errorf("layers of files in %s: %w", d.Path, err)
	}
	for _, f := range doc.files {
		name, ok := f.wanted()
		if layer, found := layers[name]; ok && found {
			f.set(spdxComment, "layerID: "+layer.String())
		}
	}
	data, err := doc.encode(creator)
	if err != nil {
		return fmt.Errorf("encode %s: %w", d.Path, err)
	}
	d.Predicate = data
	return nil
}

// spdx is a document, taken apart as far as it is changed.
type spdx struct {
	root object
	// files are those of the root's list and of all packages, in the order in
	// which encode puts them together.
	files    []object
	atRoot   int
	packages []object
	// in is how many of files each package has; -1 if it has no list.
	in       []int
	creation object
	creators []json.RawMessage
}

// parseSPDX takes a document apart; ok is false if it has another shape.
func parseSPDX(data []byte) (*spdx, bool) {
	d := &spdx{atRoot: -1}
	if json.Unmarshal(data, &d.root) != nil || d.root == nil || d.root["SPDXID"] == nil {
		return nil, false
	}
	var ok bool
	if d.atRoot, ok = d.take(d.root); !ok {
		return nil, false
	}
	if !d.root.get(spdxPackages, &d.packages) || !d.root.get(spdxCreation, &d.creation) {
		return nil, false
	}
	for _, p := range d.packages {
		n, ok := d.take(p)
		if !ok {
			return nil, false
		}
		d.in = append(d.in, n)
	}
	return d, d.creation.get(spdxCreators, &d.creators)
}

// take adds the files of an object that lists some; n is how many, or -1 if it
// has no list.
func (d *spdx) take(from object) (n int, ok bool) {
	var files []object
	if !from.get(spdxFiles, &files) {
		return 0, false
	}
	if files == nil {
		return -1, true
	}
	d.files = append(d.files, files...)
	return len(files), true
}

// encode puts the document together again.
func (d *spdx) encode(creator string) ([]byte, error) {
	rest := d.files
	give := func(to object, n int) {
		if n >= 0 {
			to.set(spdxFiles, rest[:n])
			rest = rest[n:]
		}
	}
	give(d.root, d.atRoot)
	for i, p := range d.packages {
		give(p, d.in[i])
	}
	if d.packages != nil {
		d.root.set(spdxPackages, d.packages)
	}
	if creator != "" {
		if d.creation == nil {
			d.creation = object{}
		}
		made := object{}
		made.set(spdxCreators, creator)
		d.creation.set(spdxCreators, append(d.creators, made[spdxCreators]))
		d.root.set(spdxCreation, d.creation)
	}
	return encodeJSON(d.root)
}

// wanted is the name of a file whose layer is to be told.
func (o object) wanted() (string, bool) {
	var name, comment string
	if !o.get(spdxName, &name) || !o.get(spdxComment, &comment) {
		return "", false
	}
	return name, name != "" && comment == ""
}

// get decodes a member; one that is not there leaves to as it is. It tells
// whether the member has the right shape.
func (o object) get(name string, to any) bool {
	data, ok := o[name]
	return !ok || json.Unmarshal(data, to) == nil
}

// set replaces a member. An object that is null in the document takes none.
func (o object) set(name string, v any) {
	if o == nil {
		return
	}
	// What was decoded can be encoded.
	if data, err := encodeJSON(v); err == nil {
		o[name] = data
	}
}

// encodeJSON writes v as it was read: names of files may hold what HTML would
// not.
func encodeJSON(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
