package llb

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// DumpedOp is one line of DumpJSON.
type DumpedOp struct {
	Op         *pb.Op
	Digest     digest.Digest
	OpMetadata *pb.OpMetadata
}

// Dump decodes the operations of a definition in the order they came, the
// pointer included. It looks at each one only by itself: a definition that
// Load refuses can still be dumped.
func Dump(def *pb.Definition) ([]DumpedOp, error) {
	ops := make([]DumpedOp, 0, len(def.GetDef()))
	for _, encoded := range def.GetDef() {
		op := &pb.Op{}
		if err := proto.Unmarshal(encoded, op); err != nil {
			return nil, invalidf("failed to parse op: %w", err)
		}
		dgst := digest.FromBytes(encoded)
		meta := def.Metadata[string(dgst)]
		if meta == nil {
			meta = &pb.OpMetadata{}
		}
		ops = append(ops, DumpedOp{Op: op, Digest: dgst, OpMetadata: meta})
	}
	return ops, nil
}

// DumpJSON writes one line of JSON for every operation.
func DumpJSON(w io.Writer, def *pb.Definition) error {
	ops, err := Dump(def)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(w)
	for _, op := range ops {
		if err := encoder.Encode(op); err != nil {
			return fmt.Errorf("write operation %s: %w", op.Digest, err)
		}
	}
	return nil
}

// DumpDot writes the graph in the language of graphviz.
func DumpDot(w io.Writer, def *pb.Definition) error {
	ops, err := Dump(def)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("digraph {\n")
	for _, op := range ops {
		label, shape := dotNode(op)
		fmt.Fprintf(&b, "  %q [label=%q shape=%q];\n", op.Digest, label, shape)
	}
	for _, op := range ops {
		for i, input := range op.Op.Inputs {
			fmt.Fprintf(&b, "  %q -> %q [label=%q];\n", input.GetDigest(), op.Digest, dotEdge(op.Op, i))
		}
	}
	b.WriteString("}\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write graph: %w", err)
	}
	return nil
}

// dotNode gives each kind of operation a shape of its own.
func dotNode(op DumpedOp) (label, shape string) {
	switch o := op.Op.Op.(type) {
	case *pb.Op_Source:
		return o.Source.GetIdentifier(), "ellipse"
	case *pb.Op_Exec:
		return strings.Join(o.Exec.GetMeta().GetArgs(), " "), "box"
	case *pb.Op_File:
		return dotActions(o.File), "note"
	case *pb.Op_Build:
		return "build", "box3d"
	case *pb.Op_Merge:
		return "merge", "invtriangle"
	case *pb.Op_Diff:
		return "diff", "doublecircle"
	}
	return op.Digest.String(), "plaintext"
}

// dotEdge is where a process finds the input, unless that is its root.
func dotEdge(op *pb.Op, input int) string {
	label := ""
	for _, mount := range op.GetExec().GetMounts() {
		if mount.GetInput() == int64(input) && mount.GetDest() != rootDest {
			label = mount.GetDest()
		}
	}
	return label
}

func dotActions(op *pb.FileOp) string {
	labels := make([]string, 0, len(op.GetActions()))
	for _, action := range op.GetActions() {
		label := ""
		switch a := action.GetAction().(type) {
		case *pb.FileAction_Copy:
			label = fmt.Sprintf("copy{src=%s, dest=%s}", a.Copy.GetSrc(), a.Copy.GetDest())
		case *pb.FileAction_Mkfile:
			label = fmt.Sprintf("mkfile{path=%s}", a.Mkfile.GetPath())
		case *pb.FileAction_Mkdir:
			label = fmt.Sprintf("mkdir{path=%s}", a.Mkdir.GetPath())
		case *pb.FileAction_Rm:
			label = fmt.Sprintf("rm{path=%s}", a.Rm.GetPath())
		case *pb.FileAction_Symlink:
			label = fmt.Sprintf("symlink{oldpath=%s, newpath=%s}", a.Symlink.GetOldpath(), a.Symlink.GetNewpath())
		}
		labels = append(labels, label)
	}
	return strings.Join(labels, ",")
}
