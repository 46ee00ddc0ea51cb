package build

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// op is a valid op that reads a file; an empty name is the usual one.
func op(file string) *pb.BuildOp {
	out := &pb.BuildOp{Builder: -1, Inputs: map[string]*pb.BuildInput{definitionInput: {Input: 0}}}
	if file != "" {
		out.Attrs = map[string]string{filenameAttr: file}
	}
	return out
}

func TestInvalid(t *testing.T) {
	for want, o := range map[string]*pb.BuildOp{
		"builder is 0":                  {},
		"no llb definition input":       {Builder: -1},
		"buildkit.llb.definition is 1 ": {Builder: -1, Inputs: map[string]*pb.BuildInput{definitionInput: {Input: 1}}},
		"definition is -1 of 1":         {Builder: -1, Inputs: map[string]*pb.BuildInput{definitionInput: {Input: -1}}},
	} {
		if _, err := New(o, 1, 0, nil); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := New(op(""), 1, MaxDepth, nil); !errdefs.IsResourceExhausted(err) {
		t.Errorf("too deep: error %v", err)
	}
}

// Ops of different depth must not be the same work.
func TestKeys(t *testing.T) {
	seen := map[string]string{}
	for name, at := range map[string]struct {
		file  string
		depth int
	}{"top": {}, "file": {file: "x"}, "deeper": {depth: 1}, "deepest": {depth: 2}} {
		o, err := New(op(at.file), 1, at.depth, nil)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := o.Keys(t.Context(), nil)
		if err != nil || len(spec.Inputs) != 1 {
			t.Fatal(spec, err)
		}
		if other, ok := seen[spec.Digest.String()]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[spec.Digest.String()] = name
	}
}

// file is a tree of a single file.
type file struct {
	name string
	data []byte
}

func (f file) ReadFile(_ context.Context, path string, _, length int64) ([]byte, error) {
	if path != f.name {
		return nil, errdefs.ErrNotFound
	}
	return f.data[:min(int(length), len(f.data))], nil
}

func TestRead(t *testing.T) {
	def, err := proto.Marshal(&pb.Definition{Def: [][]byte{{1}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		attr string
		have file
		err  string
	}{
		{"", file{"/buildkit.llb.definition", def}, ""},
		{"a/../b", file{"/b", def}, ""},
		{"../../b", file{"/b", def}, ""},
		{"", file{"/other", def}, "read definition: not found"},
		{"b", file{"/b", nil}, "definition /b is an empty file"},
		{"b", file{"/b", []byte("{}")}, "definition /b is no LLB"},
		{"b", file{"/b", bytes.Repeat([]byte{0}, MaxDefinition+1)}, "more than 16777216 bytes"},
	} {
		o, err := New(op(c.attr), 1, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.read(t.Context(), c.have)
		if c.err == "" && (err != nil || len(got.GetDef()) != 1) {
			t.Errorf("%q: %v, error %v", c.attr, got, err)
		}
		if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: error %v, want %q", c.attr, err, c.err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x0a\x01\x01"))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if def, err := parse("x", data); (def == nil) == (err == nil) {
			t.Errorf("definition %v, error %v", def, err)
		}
	})
}
