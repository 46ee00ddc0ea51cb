package llb

import (
	"strings"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// noIndex is the input or output index that means none.
const noIndex = -1

// validateOp checks everything about an operation that can be told without
// its inputs and returns how many outputs it has.
func validateOp(op *pb.Op, limits Limits) (outputs int, err error) {
	if len(op.GetInputs()) > limits.Inputs {
		return 0, invalidf("invalid op with %d inputs: at most %d are allowed", len(op.Inputs), limits.Inputs)
	}
	inputs := len(op.Inputs)
	switch o := op.Op.(type) {
	case *pb.Op_Source:
		return 1, validateSource(o.Source)
	case *pb.Op_Exec:
		return validateExec(o.Exec, inputs)
	case *pb.Op_File:
		return validateFile(o.File, inputs)
	case *pb.Op_Build:
		return 1, validateBuild(o.Build, inputs)
	case *pb.Op_Merge:
		return 1, validateMerge(o.Merge, inputs)
	case *pb.Op_Diff:
		return 1, validateDiff(o.Diff, inputs)
	case *pb.Op_Passthrough:
		return validatePassthrough(o.Passthrough, inputs)
	}
	return 0, invalidf("invalid op of unknown kind: the client may need a newer build server")
}

// checkIndex accepts an index below count, or noIndex.
func checkIndex(what string, index int64, count int) error {
	if index < noIndex || index >= int64(count) {
		return invalidf("invalid %s index %d", what, index)
	}
	return nil
}

// checkText refuses NUL, which ends a string early wherever the kernel reads it.
func checkText(what string, texts ...string) error {
	for _, text := range texts {
		if strings.IndexByte(text, 0) >= 0 {
			return invalidf("invalid %s with a NUL byte: %q", what, text)
		}
	}
	return nil
}

func validateSource(op *pb.SourceOp) error {
	if op == nil {
		return invalidf("invalid nil source op")
	}
	if scheme, _, ok := strings.Cut(op.Identifier, "://"); !ok || scheme == "" {
		return invalidf("invalid source identifier %q: it has no scheme", op.Identifier)
	}
	return checkText("source identifier", op.Identifier)
}

func validateBuild(op *pb.BuildOp, inputs int) error {
	if op == nil {
		return invalidf("invalid nil build op")
	}
	for name, input := range op.Inputs {
		if index := input.GetInput(); index < 0 || index >= int64(inputs) {
			return invalidf("invalid build input %q index %d", name, index)
		}
	}
	return nil
}

func validateMerge(op *pb.MergeOp, inputs int) error {
	if op == nil {
		return invalidf("invalid nil merge op")
	}
	if len(op.Inputs) == 0 {
		return invalidf("invalid merge op with no inputs")
	}
	for _, input := range op.Inputs {
		// Unlike elsewhere -1 is not scratch: clients leave scratch out.
		if index := input.GetInput(); index < 0 || index >= int64(inputs) {
			return invalidf("invalid merge input index %d", index)
		}
	}
	return nil
}

func validateDiff(op *pb.DiffOp, inputs int) error {
	if op == nil {
		return invalidf("invalid nil diff op")
	}
	if op.Lower == nil || op.Upper == nil {
		return invalidf("invalid diff op with nil lower or upper input")
	}
	if err := checkIndex("diff input", op.Lower.Input, inputs); err != nil {
		return err
	}
	return checkIndex("diff input", op.Upper.Input, inputs)
}

func validatePassthrough(op *pb.PassthroughOp, inputs int) (int, error) {
	if op == nil {
		return 0, invalidf("invalid nil passthrough op")
	}
	if op.Id == "" {
		return 0, invalidf("invalid passthrough op with no id")
	}
	if len(op.Outputs) == 0 {
		return 0, invalidf("invalid passthrough op with no outputs")
	}
	for _, index := range op.Outputs {
		if index < 0 || index >= int64(inputs) {
			return 0, invalidf("invalid passthrough output input index %d", index)
		}
	}
	return len(op.Outputs), nil
}
