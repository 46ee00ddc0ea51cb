package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugin is a protoc plugin that go.mod pins as a tool.
type plugin struct {
	tool      string
	parameter string
}

var plugins = []plugin{
	{tool: "protoc-gen-go", parameter: "module=" + module},
	{tool: "protoc-gen-go-grpc", parameter: "module=" + module},
}

// generate runs the plugin and adds its files, by path below root, to out.
func (p plugin) generate(ctx context.Context, root string, request *pluginpb.CodeGeneratorRequest, out map[string][]byte) error {
	request.Parameter = proto.String(p.parameter)
	input, err := proto.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode request for %s: %w", p.tool, err)
	}
	var output, diagnostics bytes.Buffer
	command := exec.CommandContext(ctx, "go", "tool", p.tool)
	command.Dir = root
	command.Stdin = bytes.NewReader(input)
	command.Stdout = &output
	command.Stderr = &diagnostics
	if err := command.Run(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", p.tool, err, diagnostics.Bytes())
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output.Bytes(), &response); err != nil {
		return fmt.Errorf("decode answer of %s: %w", p.tool, err)
	}
	if response.GetError() != "" {
		return fmt.Errorf("%s: %s", p.tool, response.GetError())
	}
	for _, file := range response.File {
		out[file.GetName()] = []byte(file.GetContent())
	}
	return nil
}

// write stores the wanted files and removes generated ones that no source
// stands for any more.
func write(root string, want map[string][]byte) error {
	for name, content := range want {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o644); err != nil {
			return fmt.Errorf("write generated code: %w", err)
		}
	}
	stale, err := leftovers(root, want)
	if err != nil {
		return err
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return fmt.Errorf("remove stale generated code: %w", err)
		}
	}
	return nil
}

// compare reports every generated file that differs from what is wanted.
func compare(root string, want map[string][]byte) error {
	stale, err := leftovers(root, want)
	if err != nil {
		return err
	}
	for name, content := range want {
		have, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("read generated code: %w", err)
		}
		if !bytes.Equal(have, content) {
			stale = append(stale, name)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	slices.Sort(stale)
	return fmt.Errorf("generated code is stale, run go generate ./solver/pb: %s", strings.Join(stale, " "))
}

// leftovers lists committed generated files that are not wanted.
func leftovers(root string, want map[string][]byte) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, "solver", "pb", "*", "*.pb.go"))
	if err != nil {
		return nil, fmt.Errorf("list generated code: %w", err)
	}
	var stale []string
	for _, name := range found {
		rel := path.Join("solver", "pb", filepath.Base(filepath.Dir(name)), filepath.Base(name))
		if _, ok := want[rel]; !ok {
			stale = append(stale, rel)
		}
	}
	return stale, nil
}
