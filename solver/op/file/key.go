package file

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/solver/ref"
)

// keyType names the op in its key. The JSON that is hashed, odd exceptions
// included, is that of caches which other builders exported.
const keyType = "buildkit.file.v0"

// Files in which names are looked up.
const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// selector is a part of an input that an action reads.
type selector struct {
	path string
	opt  ref.ContentOptions
}

// simple reports whether the path alone selects.
func (s selector) simple() bool {
	return !s.opt.Wildcard && len(s.opt.Include) == 0 && len(s.opt.Exclude) == 0
}

// Keys returns the identity of the actions. Of inputs that are only read, what
// is read of them counts and not how they were made.
func (o *Op) Keys(context.Context, solver.Env) (solver.KeySpec, error) {
	actions := make([][]byte, 0, len(o.op.GetActions()))
	for _, a := range o.op.GetActions() {
		data, err := o.actionJSON(a)
		if err != nil {
			return solver.KeySpec{}, fmt.Errorf("key of file op: %w", err)
		}
		actions = append(actions, data)
	}
	data, err := json.Marshal(struct {
		Type    string
		Actions [][]byte
		Indexes [][]int64 `json:"indexes,omitempty"`
	}{keyType, actions, o.indexes()})
	if err != nil {
		return solver.KeySpec{}, fmt.Errorf("key of file op: %w", err)
	}
	return solver.KeySpec{Digest: digest.FromBytes(data), Inputs: o.inputKeys()}, nil
}

// actionJSON is what counts of an action. The directory of a copied path does
// not: it is part of what selects the content.
func (o *Op) actionJSON(a *pb.FileAction) ([]byte, error) {
	c := a.GetCopy()
	if c == nil || !o.isInput(a.GetSecondaryInput()) {
		return json.Marshal(kindOf(a))
	}
	// The op is shared with the graph: change a copy.
	c = proto.CloneOf(c)
	c.Src = path.Base(c.Src)
	return json.Marshal(c)
}

// isInput reports whether an index is an input of the op, not the result of an
// action.
func (o *Op) isInput(i int64) bool { return i >= 0 && i < int64(o.inputs) }

// indexes says how the actions hang together; nil for the usual chain, which
// older builders did not write down.
func (o *Op) indexes() [][]int64 {
	list := o.op.GetActions()
	usual := true
	var out [][]int64
	for i, a := range list {
		in, second, output := a.GetInput(), a.GetSecondaryInput(), a.GetOutput()
		out = append(out, []int64{in, second, output})
		// That the number of actions stands here for that of inputs is how the
		// format came to be.
		wantIn, wantOut := int64(len(list)+i-1), none
		if i == 0 {
			wantIn = 0
		}
		if i == len(list)-1 {
			wantOut = 0
		}
		usual = usual && in == wantIn && output == wantOut && (second == none || second == 1)
	}
	if usual {
		return nil
	}
	return out
}

// inputKeys says for each input what of it counts.
func (o *Op) inputKeys() []solver.InputKey {
	selectors := make([][]selector, o.inputs)
	changed := make([]bool, o.inputs)
	for _, a := range o.op.GetActions() {
		// The wire has no index for "no input" but -1, which is none of these.
		if o.isInput(a.GetInput()) {
			changed[a.GetInput()] = true
		}
		o.addNames(selectors, a)
		if c := a.GetCopy(); c != nil && o.isInput(a.GetSecondaryInput()) {
			i := a.GetSecondaryInput()
			// The path as it was sent, slashes at its end included.
			selectors[i] = append(selectors[i], selector{path: c.GetSrc(), opt: ref.ContentOptions{
				FollowLinks: c.GetFollowSymlink(), Wildcard: c.GetAllowWildcard() && hasWildcard(c.GetSrc()),
				Include: c.GetIncludePatterns(), Exclude: c.GetExcludePatterns(), Required: c.GetRequiredPaths(),
			}})
		}
	}
	keys := make([]solver.InputKey, o.inputs)
	for i, list := range selectors {
		// What an input is changed into holds all of it, not just what was read.
		if len(list) == 0 || changed[i] {
			continue
		}
		keys[i] = solver.InputKey{Selector: selectorDigest(list), Content: contentOf(topmost(list))}
	}
	return keys
}

// addNames selects the files in which names are looked up. Those for the owner
// of a link do not count: a fact of shared caches.
func (o *Op) addNames(selectors [][]selector, a *pb.FileAction) {
	if a.GetSymlink() != nil {
		return
	}
	for _, n := range []struct {
		user *pb.UserOpt
		file string
	}{{ownerOf(a).GetUser(), passwdFile}, {ownerOf(a).GetGroup(), groupFile}} {
		if name := n.user.GetByName(); name != nil && o.isInput(name.GetInput()) {
			i := name.GetInput()
			selectors[i] = append(selectors[i], selector{path: n.file, opt: ref.ContentOptions{FollowLinks: true}})
		}
	}
}

// selectorDigest covers the paths in descending order (wire format fact).
func selectorDigest(list []selector) digest.Digest {
	var paths []string
	for _, s := range list {
		paths = append(paths, s.path)
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	var parts [][]byte
	for _, p := range paths {
		parts = append(parts, []byte(p))
	}
	return digest.FromBytes(bytes.Join(parts, []byte{0}))
}

// topmost drops simple selectors below other ones of their kind and sorts what
// is left: first those that follow no links, then those that do, then the
// others, all by path.
func topmost(list []selector) []selector {
	var out []selector
	for _, follow := range []bool{false, true} {
		var paths []string
		for _, s := range list {
			if s.simple() && s.opt.FollowLinks == follow {
				paths = append(paths, s.path)
			}
		}
		for _, p := range withoutNested(paths) {
			out = append(out, selector{path: p, opt: ref.ContentOptions{FollowLinks: follow}})
		}
	}
	for _, s := range list {
		if !s.simple() {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b selector) int { return cmp.Compare(a.path, b.path) })
	return out
}

// withoutNested sorts paths and drops those that are another one or below it.
func withoutNested(paths []string) []string {
	sorted := slices.Compact(slices.Sorted(slices.Values(paths)))
	return slices.DeleteFunc(slices.Clone(sorted), func(p string) bool {
		return slices.ContainsFunc(sorted, func(q string) bool {
			return p != q && strings.HasPrefix(p, strings.TrimSuffix(q, "/")+"/")
		})
	})
}

// contentOf digests what list selects of an input.
func contentOf(list []selector) solver.ContentFunc {
	return func(ctx context.Context, _ solver.Env, input solver.Result) (digest.Digest, error) {
		r, err := ref.From(input)
		if err != nil {
			return "", err
		}
		parts := make([][]byte, 0, len(list))
		for _, s := range list {
			d, err := r.ContentDigest(ctx, path.Join("/", s.path), s.opt)
			if err != nil {
				return "", fmt.Errorf("failed to calculate checksum of ref %s: %w", refID(r), err)
			}
			parts = append(parts, []byte(d))
		}
		return digest.FromBytes(bytes.Join(parts, []byte{0})), nil
	}
}

// refID names a file system in errors.
func refID(r *ref.Ref) string {
	if r == nil {
		return "scratch"
	}
	return r.ID()
}
