package interop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
)

// buildExamples compiles the programs that print graphs.
func buildExamples(t *testing.T) (dir string) {
	t.Helper()
	root, err := daemon.Tree()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", dir,
		"./examples/buildkit0", "./examples/buildkit1", "./examples/buildkit2", "./examples/buildkit3",
		"./examples/dockerfile2llb", "./examples/gobuild")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build examples: %v\n%s", err, out)
	}
	return dir
}

// TestExamples shows what the examples print to the real buildctl, which reads
// it as kiln does, and has it build one.
func TestExamples(t *testing.T) {
	d := watch(t)
	dir := buildExamples(t)
	text := "FROM " + base(t, "busybox") + " AS build\nCOPY name /\nRUN echo hello $(cat /name) > /result\nFROM scratch\nCOPY --from=build /result /\n"
	graphs := map[string]string{}
	for name, c := range map[string]struct {
		stdin string
		args  []string
	}{
		"buildkit0": {}, "buildkit1": {}, "buildkit2": {}, "buildkit3": {args: []string{"--runc=local"}},
		"dockerfile2llb": {stdin: text}, "gobuild": {args: []string{"./cmd/kiln"}},
	} {
		graphs[name] = run(t, c.stdin, nil, filepath.Join(dir, name), c.args...).ok(t).stdout
		for _, form := range [][]string{{"debug", "dump-llb"}, {"debug", "dump-llb", "--dot"}} {
			theirs := run(t, graphs[name], nil, foreign(t, "buildctl"), form...).ok(t).stdout
			ours := run(t, graphs[name], nil, own(t, "kiln"), form...).ok(t).stdout
			if len(theirs) == 0 || len(form) == 2 && theirs != ours {
				t.Errorf("%s: buildctl shows\n%s\nkiln shows\n%s", name, theirs, ours)
			}
		}
	}
	ctx, out := folder(t, "name", "world"), t.TempDir()
	run(t, graphs["dockerfile2llb"], nil, foreign(t, "buildctl"), "--addr", d.Address, "build", "--local=context="+ctx,
		"--output=type=local,dest="+out).ok(t)
	if got := read(t, filepath.Join(out, "result")); got != "hello world\n" {
		t.Errorf("result is %q", got)
	}
}
