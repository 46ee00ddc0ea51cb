package compose

import (
	"testing"
	"time"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func TestFilesAll(t *testing.T) {
	base, other := image("alpine"), image("busybox")
	mode := uint32(0o750)
	at := time.Unix(1, 5)
	owner := &Owner{User: &Identity{Name: "u"}, Group: &Identity{}}
	wantOwner := &pb.ChownOpt{
		User:  &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "u"}}},
		Group: &pb.UserOpt{User: &pb.UserOpt_ByID{}},
	}
	s := Files(base, Info{},
		Copy{
			From: other, Src: "/s/", Dest: "/d/", Owner: owner, Mode: &mode, ModeText: "u+x", FollowLinks: true, ContentsOnly: true, Unpack: true,
			MakeDest: true, Wildcard: true, EmptyWildcard: true, Created: &at, Include: []string{"i"}, Exclude: []string{"e"},
			Required: []string{"r"}, ReplaceExisting: true,
		},
		Copy{From: base, Src: "a", Dest: "b"},
		Copy{Src: "a", Dest: "b", Owner: &Owner{User: &Identity{ID: 7}}},
		Mkdir{Path: "/m", Mode: 0o755, Parents: true, Owner: owner, Created: &at},
		Mkfile{Path: "/f", Mode: 0o600, Data: []byte("x"), Owner: owner},
		Remove{Path: "/r", AllowMissing: true, Wildcard: true},
		Symlink{Target: "t", Path: "/l", Owner: owner, Created: &at},
	)
	op, meta := lastOp(t, s)
	const ns = 1_000_000_005
	wantMessage(t, &pb.FileOp{Actions: []*pb.FileAction{
		{Input: 0, SecondaryInput: 1, Output: -1, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{
			Src: "/s/", Dest: "/d/", Owner: wantOwner, Mode: 0o750, ModeStr: "u+x", FollowSymlink: true, DirCopyContents: true,
			AttemptUnpackDockerCompatibility: true, CreateDestPath: true, AllowWildcard: true, AllowEmptyWildcard: true, Timestamp: ns,
			IncludePatterns: []string{"i"}, ExcludePatterns: []string{"e"}, RequiredPaths: []string{"r"}, AlwaysReplaceExistingDestPaths: true,
		}}},
		{Input: 2, SecondaryInput: 0, Output: -1, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "a", Dest: "b", Mode: -1, Timestamp: -1}}},
		{Input: 3, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{
			Src: "a", Dest: "b", Mode: -1, Timestamp: -1, Owner: &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: 7}}},
		}}},
		{Input: 4, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{
			Path: "/m", Mode: 0o755, MakeParents: true, Owner: wantOwner, Timestamp: ns,
		}}},
		{Input: 5, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Mkfile{Mkfile: &pb.FileActionMkFile{
			Path: "/f", Mode: 0o600, Data: []byte("x"), Owner: wantOwner, Timestamp: -1,
		}}},
		{Input: 6, SecondaryInput: -1, Output: -1, Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "/r", AllowNotFound: true, AllowWildcard: true}}},
		{Input: 7, SecondaryInput: -1, Output: 0, Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{
			Oldpath: "t", Newpath: "/l", Owner: wantOwner, Timestamp: ns,
		}}},
	}}, op.GetFile())
	wantCaps(t, meta, "file.base", "file.copy.includeexcludepatterns", "file.copy.requiredpaths", "file.copy.alwaysreplaceexistingdestpaths",
		"file.rm.wildcard", "file.symlink.create")
}

func TestFilesOnScratch(t *testing.T) {
	owner := &Owner{User: &Identity{Name: "u"}}
	op, _ := lastOp(t, Files(Scratch(), Info{}, Mkdir{Path: "/m", Owner: owner}, Copy{From: image("a"), Src: "/", Dest: "/"}))
	actions := op.GetFile().Actions
	if len(op.Inputs) != 1 || actions[0].Input != -1 || actions[1].Input != 1 || actions[1].SecondaryInput != 0 {
		t.Errorf("actions %v", actions)
	}
	if in := actions[0].GetMkdir().Owner.User.GetByName().Input; in != -1 {
		t.Errorf("names are looked up in input %d, want scratch", in)
	}
}

func TestCombinations(t *testing.T) {
	a, b := image("a"), image("b")
	op, meta := lastOp(t, Merge([]State{a, {}, b, a}, Info{}))
	wantMessage(t, &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}, {Input: 0}}}, op.GetMerge())
	wantCaps(t, meta, "mergeop")
	if Merge([]State{{}, a}, Info{}) != a {
		t.Error("a merge of one is that one")
	}

	op, meta = lastOp(t, Diff(a, b, Info{}))
	wantMessage(t, &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 0}, Upper: &pb.UpperDiffInput{Input: 1}}, op.GetDiff())
	wantCaps(t, meta, "diffop")
	op, _ = lastOp(t, Diff(a, Scratch(), Info{}))
	wantMessage(t, &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 0}, Upper: &pb.UpperDiffInput{Input: -1}}, op.GetDiff())
	if Diff(Scratch(), a, Info{}) != a {
		t.Error("a diff over scratch is the upper side")
	}

	through := Passthrough("p", []State{a, {}, b, a}, Info{})
	op, meta = lastOp(t, through[3])
	wantMessage(t, &pb.PassthroughOp{Id: "p", Outputs: []int64{0, 1, 0}}, op.GetPassthrough())
	wantCaps(t, meta, "passthroughop")
	if _, graph := marshalled(t, through[3]); !through[1].IsScratch() || graph.Result().Index != 2 {
		t.Errorf("output %d", graph.Result().Index)
	}
	if out := Passthrough("p", []State{{}}, Info{}); !out[0].IsScratch() {
		t.Error("scratch stays scratch")
	}

	op, meta = lastOp(t, Build(a, "f", Info{}))
	wantMessage(t, &pb.BuildOp{
		Builder: -1, Inputs: map[string]*pb.BuildInput{"buildkit.llb.definition": {}}, Attrs: map[string]string{"llbbuild.filename": "f"},
	}, op.GetBuild())
	wantCaps(t, meta, "source.buildop.llbfilename")
	if op, _ := lastOp(t, Build(a, "", Info{})); len(op.GetBuild().Attrs) != 0 {
		t.Error("no file name, no attribute")
	}
}
