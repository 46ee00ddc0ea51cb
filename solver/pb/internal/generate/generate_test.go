package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const moduleRoot = "../../../.."

// The committed code is what the committed sources yield.
func TestCommittedCodeIsFresh(t *testing.T) {
	if err := run(t.Context(), moduleRoot, true); err != nil {
		t.Fatal(err)
	}
}

func TestFindSources(t *testing.T) {
	sources, err := findSources(moduleRoot)
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) == 0 || !strings.HasPrefix(sources[0], module+"/solver/pb/") {
		t.Errorf("sources %q", sources)
	}
	if _, err := findSources(t.TempDir()); err == nil {
		t.Error("a directory without sources is no module")
	}
}

func TestCompileNamesTheFault(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "solver", "pb", "x")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"syntax = \"proto3\";\nmessage M { unknown u = 1; }":    "x.proto:2:",
		"syntax = \"proto3\";\nimport \"example.com/y.proto\";": "neither ours nor known",
	} {
		if err := os.WriteFile(filepath.Join(dir, "x.proto"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		sources, err := findSources(root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compile(t.Context(), root, sources); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestCompareAndWrite(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "solver", "pb", "x")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "old.pb.go")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"solver/pb/x/x.pb.go": []byte("package x\n")}
	err := compare(root, want)
	if err == nil || !strings.HasSuffix(err.Error(), "solver/pb/x/old.pb.go solver/pb/x/x.pb.go") {
		t.Errorf("stale tree: %v", err)
	}
	if err := write(root, want); err != nil {
		t.Fatal(err)
	}
	if err := compare(root, want); err != nil {
		t.Errorf("fresh tree: %v", err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Error("code without a source is still there")
	}
}
