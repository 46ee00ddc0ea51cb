package manual_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/cmd/internal/manual"
)

// program has a command, a hidden one, and texts that the formatter would misread.
func program() *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "do things", Long: "First.\n\n.SH is a request elsewhere, and \\fB is bold."}
	root.PersistentFlags().String("addr", "unix:///run/x", "where `ADDRESS` is")
	sub := &cobra.Command{Use: "make NAME", Short: "make one", Example: "  tool make 'it'\n.tool", Run: func(*cobra.Command, []string) {}}
	sub.Flags().BoolP("quick", "q", false, "make it soon")
	sub.Flags().String("secret", "", "not shown")
	sub.Flags().Lookup("secret").Hidden = true
	root.AddCommand(sub, &cobra.Command{Use: "inner", Hidden: true, Run: func(*cobra.Command, []string) {}})
	return root
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	info := manual.Info{Section: 1, Files: [][2]string{{"/etc/tool", "its file"}}, SeeAlso: []string{"other(8)"}}
	if err := manual.Write(dir, program(), info); err != nil {
		t.Fatal(err)
	}
	for path, wants := range map[string][]string{
		"man/tool.1":      {"tool \\- do things", "tool\\-make(1)", "/etc/tool", "other(8)", "\\&.SH is", "\\efB", "\\-\\-addr ADDRESS", "(default unix:///run/x)"},
		"man/tool-make.1": {"\\-q, \\-\\-quick", "GLOBAL OPTIONS", "tool make 'it'", "\\&.tool"},
		"bash/tool":       {"__start_tool"}, "zsh/_tool": {"#compdef tool"}, "fish/tool.fish": {"complete -c tool"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s lacks %q:\n%.2000s", path, want, text)
			}
		}
		if strings.Contains(string(text), "not shown") {
			t.Errorf("%s shows what is hidden", path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "man/tool-inner.1")); err == nil {
		t.Error("a hidden command has a page")
	}
	if bash, err := exec.LookPath("bash"); err == nil {
		if out, err := exec.Command(bash, "-n", filepath.Join(dir, "bash/tool")).CombinedOutput(); err != nil {
			t.Errorf("completion for bash: %v\n%s", err, out)
		}
	}
}
