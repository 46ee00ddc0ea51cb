package pb

import (
	"encoding/json"
	"testing"
)

func TestJSONForms(t *testing.T) {
	named := &UserOpt{User: &UserOpt_ByName{ByName: &NamedUserOpt{Name: "bin", Input: 1}}}
	for name, test := range map[string]struct {
		value any
		want  string
	}{
		"pointer op": {
			&Op{Inputs: []*Input{{Digest: "sha256:00", Index: 1}}},
			`{"inputs":[{"digest":"sha256:00","index":1}],"Op":{}}`,
		},
		"source": {
			&Op{
				Op:          &Op_Source{Source: &SourceOp{Identifier: "local://ctx", Attrs: map[string]string{"b": "2", "a": "1"}}},
				Platform:    &Platform{OS: "linux", Architecture: "amd64"},
				Constraints: &WorkerConstraints{},
			},
			`{"Op":{"source":{"identifier":"local://ctx","attrs":{"a":"1","b":"2"}}},"platform":{"Architecture":"amd64","OS":"linux"},"constraints":{}}`,
		},
		"exec":        {&Op{Op: &Op_Exec{Exec: &ExecOp{}}}, `{"Op":{"exec":{}}}`},
		"build":       {&Op{Op: &Op_Build{Build: &BuildOp{Builder: -1}}}, `{"Op":{"build":{"builder":-1}}}`},
		"merge":       {&Op{Op: &Op_Merge{Merge: &MergeOp{}}}, `{"Op":{"merge":{}}}`},
		"diff":        {&Op{Op: &Op_Diff{Diff: &DiffOp{}}}, `{"Op":{"diff":{}}}`},
		"passthrough": {&Op{Op: &Op_Passthrough{Passthrough: &PassthroughOp{Id: "x"}}}, `{"Op":{"passthrough":{"id":"x"}}}`},
		"file": {
			&Op{Op: &Op_File{File: &FileOp{Actions: []*FileAction{{Output: -1, Action: &FileAction_Rm{Rm: &FileActionRm{Path: "/a"}}}}}}},
			`{"Op":{"file":{"actions":[{"input":0,"secondaryInput":0,"output":-1,"Action":{"rm":{"path":"/a"}}}]}}}`,
		},
		"copy": {
			&FileAction{Action: &FileAction_Copy{Copy: &FileActionCopy{Src: "/a", Owner: &ChownOpt{User: named, Group: &UserOpt{User: &UserOpt_ByID{}}}}}},
			`{"input":0,"secondaryInput":0,"output":0,"Action":{"copy":{"src":"/a","owner":{"user":{"User":{"byName":{"name":"bin","input":1}}},"group":{"User":{}}}}}}`,
		},
		"mkfile":  {&FileAction{Action: &FileAction_Mkfile{Mkfile: &FileActionMkFile{Path: "/a"}}}, `{"input":0,"secondaryInput":0,"output":0,"Action":{"mkfile":{"path":"/a"}}}`},
		"mkdir":   {&FileAction{Action: &FileAction_Mkdir{Mkdir: &FileActionMkDir{Path: "/a"}}}, `{"input":0,"secondaryInput":0,"output":0,"Action":{"mkdir":{"path":"/a"}}}`},
		"symlink": {&FileAction{Action: &FileAction_Symlink{Symlink: &FileActionSymlink{Newpath: "/a"}}}, `{"input":0,"secondaryInput":0,"output":0,"Action":{"symlink":{"newpath":"/a"}}}`},
		"user id": {&UserOpt{User: &UserOpt_ByID{ByID: 7}}, `{"User":{"byId":7}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
