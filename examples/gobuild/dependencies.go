package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// goPackage is what the Go tools say of a package: the part that is asked for.
type goPackage struct {
	Dir        string
	Standard   bool
	Module     *struct{ Main bool }
	GoFiles    []string
	CgoFiles   []string
	CFiles     []string
	HFiles     []string
	SFiles     []string
	EmbedFiles []string
}

// dependencies lists the files of the main module that a package is made of,
// relative to the working directory and sorted, and those that name modules.
func dependencies(pkg string) ([]string, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Standard,Module,GoFiles,CgoFiles,CFiles,HFiles,SFiles,EmbedFiles", pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the dependencies of %s: %w", pkg, err)
	}
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	files, err := ownFiles(out, root)
	if err != nil {
		return nil, fmt.Errorf("list the dependencies of %s: %w", pkg, err)
	}
	return files, nil
}

// ownFiles reads the list; root is the directory of the module.
func ownFiles(list []byte, root string) ([]string, error) {
	files := []string{"go.mod", "go.sum"}
	dec := json.NewDecoder(bytes.NewReader(list))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			slices.Sort(files)
			return slices.Compact(files), nil
		}
		if err != nil {
			return nil, err
		}
		if p.Standard || p.Module == nil || !p.Module.Main {
			continue
		}
		dir, err := filepath.Rel(root, p.Dir)
		if err != nil || strings.HasPrefix(dir, "..") {
			return nil, fmt.Errorf("package in %s is not below %s", p.Dir, root)
		}
		for _, names := range [][]string{p.GoFiles, p.CgoFiles, p.CFiles, p.HFiles, p.SFiles, p.EmbedFiles} {
			for _, name := range names {
				files = append(files, escape(filepath.ToSlash(filepath.Join(dir, name))))
			}
		}
	}
}

// escape makes a pattern of a name.
var escaper = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

func escape(name string) string { return escaper.Replace(name) }

// quote makes one word of a shell command of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
