package manual

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// Info is what a page says beside the commands.
type Info struct {
	// Section is the part of the manual.
	Section int
	// Files are paths that matter, in order, each with what it is.
	Files [][2]string
	// SeeAlso are other pages, as "name(8)".
	SeeAlso []string
}

// Flag is the hidden flag of programs that write their own manual.
const Flag = "write-manual"

// Write writes the pages of a program to dir/man, and its completions to
// dir/bash, dir/zsh and dir/fish, under the names that systems look for.
func Write(dir string, root *cobra.Command, info Info) error {
	name := root.Name()
	for _, folder := range []string{"man", "bash", "zsh", "fish"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return fmt.Errorf("make folder for %s: %w", folder, err)
		}
	}
	err := errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "bash", name), true),
		root.GenZshCompletionFile(filepath.Join(dir, "zsh", "_"+name)),
		root.GenFishCompletionFile(filepath.Join(dir, "fish", name+".fish"), true),
	)
	if err != nil {
		return fmt.Errorf("write completions: %w", err)
	}
	return writePages(filepath.Join(dir, "man"), root, info)
}

// writePages writes the page of cmd and those of its commands.
func writePages(dir string, cmd *cobra.Command, info Info) error {
	path := filepath.Join(dir, fmt.Sprintf("%s.%d", pageName(cmd), info.Section))
	if err := os.WriteFile(path, page(cmd, info), 0o644); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	for _, sub := range shown(cmd) {
		if err := writePages(dir, sub, info); err != nil {
			return err
		}
	}
	return nil
}

// shown are the commands that people are told of.
func shown(cmd *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			out = append(out, sub)
		}
	}
	return out
}
