package script_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/llb/compose"
	"github.com/kilnbuild/kiln/test/daemon"
)

// nested is a graph that builds the graph in the file name of the directory
// defs, and, so that it is no source's alone, copies a file of its result.
func nested(t *testing.T, name string, noCache bool) []byte {
	t.Helper()
	defs := compose.Local(compose.LocalSource{Name: "defs"}, compose.Info{})
	built := compose.Build(defs, name, compose.Info{IgnoreCache: noCache})
	result := compose.Files(compose.Scratch(), compose.Info{}, compose.Copy{From: built, Src: "/", Dest: "/", ContentsOnly: true})
	def, err := compose.Marshal(result, compose.Options{LocalUnique: "same"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(def)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Graphs that lead back to themselves, alone or through each other, end with
// an error and not in waiting: two builds at once would each wait for what the
// other has begun.
func TestNestedCircles(t *testing.T) {
	d := daemon.Run(t, daemon.Config{})
	kiln, err := daemon.Program(t.Context(), "kiln")
	if err != nil {
		t.Fatal(err)
	}
	for _, noCache := range []bool{false, true} {
		defs := t.TempDir()
		graphs := map[string][]byte{"self": nested(t, "self", noCache), "ping": nested(t, "pong", noCache), "pong": nested(t, "ping", noCache)}
		for name, data := range graphs {
			if err := os.WriteFile(filepath.Join(defs, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ends := make(chan string, 2*len(graphs))
		for _, data := range graphs {
			for range 2 {
				go func() {
					cmd := exec.CommandContext(ctx, kiln, "--addr", d.Address, "build", "--local", "defs="+defs, "--progress", "plain")
					cmd.Stdin = bytes.NewReader(data)
					out, err := cmd.CombinedOutput()
					if err == nil {
						out = append(out, "no error"...)
					}
					ends <- string(out)
				}()
			}
		}
		for range cap(ends) {
			if out := <-ends; !strings.Contains(out, "builds are nested more than 8 deep") {
				t.Errorf("a circle ended with:\n%s", out)
			}
		}
		if ctx.Err() != nil {
			t.Error("the builds wait for each other")
		}
	}
}
