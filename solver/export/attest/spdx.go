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
	names, wanted := doc.wanted()
	layers, err := locate(ctx, names)
	if err != nil {
		return fmt.Errorf("layers of files in %s: %w", d.Path, err)
	}
	for i, at := range wanted {
		if layer, found := layers[names[i]]; found {
			if doc.files[at], err = commented(doc.files[at], "layerID: "+layer.String()); err != nil {
				return fmt.Errorf("encode %s: %w", d.Path, err)
			}
		}
	}
	data, err := doc.encode(creator)
	if err != nil {
		return fmt.Errorf("encode %s: %w", d.Path, err)
	}
	d.Predicate = data
	return nil
}

// maxFiles is how many files and packages a document may have to be looked
// into. Scanners write one of a few hundred bytes for each; somebody hostile,
// millions of empty ones.
const maxFiles = 1_000_000

// spdx is a document, taken apart as far as it is changed: what is said of a
// file stays text until its turn comes, for there may be many.
type spdx struct {
	root     object
	packages []json.RawMessage
	// files are those of all lists, one behind the other.
	files    []json.RawMessage
	lists    []fileList
	creation object
	creators []json.RawMessage
}

// fileList is a list of files in a document.
type fileList struct {
	// in is the object that it is a member of: a package, which stands at
	// that place in the list of packages, or the root (-1).
	in       object
	packaged int
	n        int
}

// parseSPDX takes a document apart; ok is false if it has another shape.
func parseSPDX(data []byte) (*spdx, bool) {
	d := &spdx{}
	if json.Unmarshal(data, &d.root) != nil || d.root["SPDXID"] == nil {
		return nil, false
	}
	if !d.take(d.root, -1) || !d.root.get(spdxPackages, &d.packages) || !d.root.get(spdxCreation, &d.creation) {
		return nil, false
	}
	for i, data := range d.packages {
		if len(d.files)+i > maxFiles {
			return nil, false
		}
		if !bytes.Contains(data, []byte(`"`+spdxFiles+`"`)) {
			continue
		}
		var p object
		if json.Unmarshal(data, &p) != nil || !d.take(p, i) {
			return nil, false
		}
	}
	return d, d.creation.get(spdxCreators, &d.creators)
}

// take adds the files that an object lists.
func (d *spdx) take(from object, packaged int) bool {
	var files []json.RawMessage
	if !from.get(spdxFiles, &files) || len(d.files)+len(files) > maxFiles {
		return false
	}
	if files != nil {
		d.files = append(d.files, files...)
		d.lists = append(d.lists, fileList{from, packaged, len(files)})
	}
	return true
}

// wanted are the names of files whose layers are to be told, and where these
// files are.
func (d *spdx) wanted() (names []string, at []int) {
	for i, data := range d.files {
		var f struct {
			Name    string `json:"fileName"`
			Comment string `json:"comment"`
		}
		if json.Unmarshal(data, &f) == nil && f.Name != "" && f.Comment == "" {
			names, at = append(names, f.Name), append(at, i)
		}
	}
	return names, at
}

// commented is a file with a comment.
func commented(file json.RawMessage, text string) (json.RawMessage, error) {
	var f object
	if err := json.Unmarshal(file, &f); err != nil {
		return nil, err
	}
	f.set(spdxComment, text)
	return encodeJSON(f)
}

// encode puts the document together again.
func (d *spdx) encode(creator string) ([]byte, error) {
	rest := d.files
	for _, l := range d.lists {
		l.in.set(spdxFiles, rest[:l.n])
		rest = rest[l.n:]
		if l.packaged >= 0 {
			var err error
			if d.packages[l.packaged], err = encodeJSON(l.in); err != nil {
				return nil, err
			}
		}
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

// get decodes a member; one that is not there leaves to as it is. It tells
// whether the member has the right shape.
func (o object) get(name string, to any) bool {
	data, ok := o[name]
	return !ok || json.Unmarshal(data, to) == nil
}

// set replaces a member.
func (o object) set(name string, v any) {
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
