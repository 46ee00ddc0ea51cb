package llb

import (
	"strings"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// CustomName is the description key under which a sender names a vertex.
const CustomName = "llb.customname"

// maxDerivedName bounds, in bytes, a name made of the names of inputs. A chain
// of merges of a merge with itself doubles the name at every step.
const maxDerivedName = 4 << 10

// vertexName is the sender's name of the vertex, or one derived from the op.
func vertexName(v *Vertex) string {
	if name, ok := v.Metadata.Description[CustomName]; ok {
		return name
	}
	switch op := v.Op.Op.(type) {
	case *pb.Op_Source:
		return op.Source.Identifier
	case *pb.Op_Exec:
		return strings.Join(op.Exec.Meta.Args, " ")
	case *pb.Op_File:
		return fileName(op.File)
	case *pb.Op_Build:
		return "build"
	case *pb.Op_Merge:
		names := make([]string, len(v.Inputs))
		for i, input := range v.Inputs {
			names[i] = input.Vertex.Name
		}
		return "merge (" + joinBounded(names) + ")"
	case *pb.Op_Diff:
		return "diff " + diffSide(v, op.Diff.Lower.Input) + " -> " + diffSide(v, op.Diff.Upper.Input)
	case *pb.Op_Passthrough:
		return "passthrough " + op.Passthrough.Id
	}
	return "unknown"
}

// diffSide names one side of a diff.
func diffSide(v *Vertex, input int64) string {
	if input < 0 {
		return "scratch"
	}
	return "(" + joinBounded([]string{v.Inputs[input].Vertex.Name}) + ")"
}

// joinBounded joins names with commas and ends in an ellipsis where the bound
// is reached.
func joinBounded(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len()+len(name) > maxDerivedName {
			b.WriteString(strings.ToValidUTF8(name[:max(0, maxDerivedName-b.Len())], ""))
			b.WriteString("…")
			break
		}
		b.WriteString(name)
	}
	return b.String()
}

// fileName lists the actions of a file op.
func fileName(op *pb.FileOp) string {
	names := make([]string, 0, len(op.Actions))
	for _, action := range op.Actions {
		switch a := action.Action.(type) {
		case *pb.FileAction_Mkdir:
			names = append(names, "mkdir "+a.Mkdir.Path)
		case *pb.FileAction_Mkfile:
			names = append(names, "mkfile "+a.Mkfile.Path)
		case *pb.FileAction_Symlink:
			names = append(names, "symlink "+a.Symlink.Newpath+" -> "+a.Symlink.Oldpath)
		case *pb.FileAction_Rm:
			names = append(names, "rm "+a.Rm.Path)
		case *pb.FileAction_Copy:
			names = append(names, "copy "+a.Copy.Src+" "+a.Copy.Dest)
		}
	}
	return strings.Join(names, ", ")
}
