package llb

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func dumpable(t *testing.T) (*pb.Definition, []*pb.Input) {
	b := newBuilder(t)
	image := b.add(sourceOp("docker-image://a"))
	local := b.add(sourceOp("local://ctx"))
	run := execOp(image, local)
	run.GetExec().Mounts = append(run.GetExec().Mounts, &pb.Mount{Input: 1, Dest: "/src", Output: -1})
	ran := b.add(run)
	b.def.Metadata[ran.Digest] = &pb.OpMetadata{Caps: map[string]bool{"exec.meta.base": true}}
	file := b.add(fileOp([]*pb.FileAction{
		{Input: 0, SecondaryInput: 0, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "/a", Dest: "/b"}}},
		{Input: 1, SecondaryInput: -1, Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{Oldpath: "x", Newpath: "/y"}}},
	}, ran))
	return b.done(file), []*pb.Input{image, local, ran, file}
}

func TestDumpJSON(t *testing.T) {
	def, inputs := dumpable(t)
	var out bytes.Buffer
	if err := DumpJSON(&out, def); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines", len(lines))
	}
	want := `{"Op":{"Op":{"source":{"identifier":"docker-image://a"}}},"Digest":"` + inputs[0].Digest + `","OpMetadata":{}}`
	if lines[0] != want {
		t.Errorf("got  %s\nwant %s", lines[0], want)
	}
	var line struct {
		Digest     string
		OpMetadata struct {
			Caps map[string]bool `json:"caps"`
		}
	}
	if err := json.Unmarshal([]byte(lines[2]), &line); err != nil {
		t.Fatal(err)
	}
	if line.Digest != inputs[2].Digest || !line.OpMetadata.Caps["exec.meta.base"] {
		t.Errorf("line %s", lines[2])
	}
}

func TestDumpDot(t *testing.T) {
	def, inputs := dumpable(t)
	var out bytes.Buffer
	if err := DumpDot(&out, def); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for i, name := range []string{"IMAGE", "LOCAL", "RUN", "FILE"} {
		text = strings.ReplaceAll(text, inputs[i].Digest, name)
	}
	ops, err := Dump(def)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, ops[4].Digest.String(), "END")
	want := `digraph {
  "IMAGE" [label="docker-image://a" shape="ellipse"];
  "LOCAL" [label="local://ctx" shape="ellipse"];
  "RUN" [label="true" shape="box"];
  "FILE" [label="copy{src=/a, dest=/b},symlink{oldpath=x, newpath=/y}" shape="note"];
  "END" [label="END" shape="plaintext"];
  "IMAGE" -> "RUN" [label=""];
  "LOCAL" -> "RUN" [label="/src"];
  "RUN" -> "FILE" [label=""];
  "FILE" -> "END" [label=""];
}
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}
