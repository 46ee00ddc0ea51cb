package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/llb"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// load runs the program twice and loads what it prints.
func load(t *testing.T, text string, args ...string) *llb.Graph {
	t.Helper()
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(t.Context(), strings.NewReader(text), out, args); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two runs print different graphs")
	}
	def := &pb.Definition{}
	if err := proto.Unmarshal(first.Bytes(), def); err != nil {
		t.Fatal(err)
	}
	g, err := llb.Load(t.Context(), def, llb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestRun(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config")
	g := load(t, "FROM busybox AS a\nCOPY x /\nRUN true\nFROM a\nARG V\nENV E=$V\nRUN false\n", "-opt", "build-arg:V=value", "-config", config)
	names := map[string]bool{}
	for v := range g.All() {
		names[v.Name] = true
		if src := v.Op.GetSource(); src.GetAttrs()["local.session"] != "" {
			t.Errorf("source %s names a session", src.GetIdentifier())
		}
	}
	if len(names) != 5 || len(g.Result().Vertex.Sources) == 0 {
		t.Errorf("vertices %v, the last from %v", names, g.Result().Vertex.Sources)
	}
	if data, err := os.ReadFile(config); err != nil || !strings.Contains(string(data), "E=value") {
		t.Errorf("configuration %s, error %v", data, err)
	}
	if g := load(t, "FROM busybox AS a\nRUN true\nFROM a\nRUN false\n", "-target", "a"); g.Len() != 2 {
		t.Errorf("%d vertices", g.Len())
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"FROM": "FROM", "# syntax=docker/dockerfile:1\nFROM busybox\n": "only the built-in", "": "",
	} {
		if err := run(t.Context(), strings.NewReader(text), &bytes.Buffer{}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
	if err := run(t.Context(), strings.NewReader("FROM busybox\n"), &bytes.Buffer{}, []string{"-opt", "platform=linux/amd64,linux/arm64"}); err == nil {
		t.Error("several platforms: no error")
	}
}

// What a base image is configured with comes from its registry.
func TestResolve(t *testing.T) {
	ref := fixtures.Busybox(t, fixtures.Registry(t))
	g := load(t, "FROM "+ref+"\nRUN true\n", "-resolve")
	env := g.Result().Vertex.Op.GetExec().GetMeta().GetEnv()
	if len(env) == 0 || !strings.HasPrefix(env[0], "PATH=") {
		t.Errorf("environment %q", env)
	}
}
