package files

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/attest"
	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// attested returns the tree with a file for each statement about it, dated at.
func (in *instance) attested(ctx context.Context, tree files.Tree, r export.Result, tag string, at time.Time) (files.Tree, error) {
	docs, err := attest.Open(ctx, attest.Select(r.Attestations, false), nil)
	if err != nil {
		return nil, fmt.Errorf("attestations of %s: %w", r.ID, err)
	}
	if len(docs) == 0 {
		return tree, nil
	}
	self, err := subjects(ctx, tree)
	if err != nil {
		return nil, err
	}
	out := &extended{Tree: tree, data: map[string][]byte{}}
	for _, d := range docs {
		name := in.prefix + statementName(d.Path, tag)
		if _, twice := out.data[name]; twice {
			return nil, fmt.Errorf("duplicate attestation path name %s: %w", name, errdefs.ErrInvalidArgument)
		}
		if !fs.ValidPath(name) || strings.Contains(name, "/") {
			return nil, fmt.Errorf("attestation file name %q: want a name without slashes: %w", name, errdefs.ErrInvalidArgument)
		}
		if out.data[name], err = json.MarshalIndent(d.Statement(self), "", "  "); err != nil {
			return nil, fmt.Errorf("encode statement of type %s: %w", d.PredicateType, err)
		}
		out.files = append(out.files, &fsutil.Stat{
			Path: name, Mode: 0o600, Size: int64(len(out.data[name])), ModTime: at.UnixNano(),
		})
	}
	slices.SortFunc(out.files, func(a, b *fsutil.Stat) int { return files.ComparePath(a.GetPath(), b.GetPath()) })
	return out, nil
}

// statementName is the name of the file for a statement that was found at p.
// tag, if not empty, tells those of several platforms apart.
func statementName(p, tag string) string {
	name := path.Base(p)
	if tag == "" {
		return name
	}
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "." + tag + ext
}

// subjects are all regular files of a tree.
func subjects(ctx context.Context, tree files.Tree) ([]attest.Subject, error) {
	out := []attest.Subject{}
	err := tree.Walk(ctx, func(st *fsutil.Stat) error {
		if !fs.FileMode(st.GetMode()).IsRegular() {
			return nil
		}
		f, err := tree.Open(st.GetPath())
		if err != nil {
			return err
		}
		defer f.Close()
		d, err := digest.FromReader(f)
		if err != nil {
			return fmt.Errorf("digest of %s: %w", st.GetPath(), err)
		}
		out = append(out, attest.NewSubject(st.GetPath(), d))
		return nil
	})
	return out, err
}

// extended is a Tree with more files at its root, which replace those of the
// same names.
type extended struct {
	files.Tree
	// files are in path order, data is what they contain.
	files []*fsutil.Stat
	data  map[string][]byte
}

// Walk visits the entries of the tree and the files among them.
func (e *extended) Walk(ctx context.Context, fn func(*fsutil.Stat) error) error {
	rest := e.files
	// until visits the files that come before a path.
	until := func(p string) error {
		for len(rest) > 0 && (p == "" || files.ComparePath(rest[0].GetPath(), p) < 0) {
			if err := fn(proto.CloneOf(rest[0])); err != nil {
				return err
			}
			rest = rest[1:]
		}
		return nil
	}
	err := e.Tree.Walk(ctx, func(st *fsutil.Stat) error {
		if err := until(st.GetPath()); err != nil {
			return err
		}
		if root, _, _ := strings.Cut(st.GetPath(), "/"); e.data[root] != nil {
			return nil
		}
		return fn(st)
	})
	if err != nil {
		return err
	}
	return until("")
}

// Open opens a file.
func (e *extended) Open(name string) (io.ReadCloser, error) {
	if data, ok := e.data[name]; ok {
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return e.Tree.Open(name)
}
