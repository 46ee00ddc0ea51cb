package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kilnbuild/kiln/examples/internal/exampletest"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

func TestOuter(t *testing.T) {
	for _, c := range []struct {
		args              []string
		sources, commands int
	}{
		{[]string{"./cmd/kiln"}, 2, 2},
		{[]string{"-program", "local", "-base", "x", "./cmd/kiln"}, 3, 1},
	} {
		g := exampletest.Check(t, define, c.args...)
		if sources, commands := exampletest.Count(g); sources != c.sources || commands != c.commands {
			t.Errorf("%q: %d sources and %d commands, want %d and %d", c.args, sources, commands, c.sources, c.commands)
		}
		if _, ok := g.Result().Vertex.Op.GetOp().(*pb.Op_Build); !ok {
			t.Errorf("%q: the last vertex is no build", c.args)
		}
	}
	for _, args := range [][]string{nil, {"a", "b"}, {"-program", "x", "a"}} {
		if _, err := define(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// The second graph is made from a real module by the real Go tools.
func TestInner(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n\ngo 1.26\n", "go.sum": "", "cmd/app/main.go": "package main\n\nimport \"m/used\"\n\nfunc main() { print(used.Text) }\n",
		"used/used.go": "package used\n\nimport _ \"embed\"\n\n//go:embed text.txt\nvar Text string\n", "used/text.txt": "hello",
		"used/used_test.go": "package used\n", "unused/unused.go": "package unused\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	files, err := dependencies("./cmd/app")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"cmd/app/main.go", "go.mod", "go.sum", "used/text.txt", "used/used.go"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if sources, commands := exampletest.Count(exampletest.Check(t, define, "-inner", "./cmd/app")); sources != 3 || commands != 2 {
		t.Errorf("%d sources and %d commands", sources, commands)
	}
	if _, err := dependencies("./nothing"); err == nil {
		t.Error("a package that is not there: no error")
	}
}
