package manual

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// roff collects a page. Every text that is not a request goes through escape.
type roff struct{ strings.Builder }

// request writes a line that is for the formatter.
func (r *roff) request(name string, args ...string) {
	r.WriteString("." + name)
	for _, a := range args {
		r.WriteString(` "` + strings.ReplaceAll(escape(a), `"`, `\(dq`) + `"`)
	}
	r.WriteString("\n")
}

// text writes lines for people; empty ones separate paragraphs.
func (r *roff) text(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimSpace(line)
		if line == "" {
			r.request("PP")
			continue
		}
		r.WriteString(escape(line) + "\n")
	}
}

// escape makes text mean itself: a hyphen is what people type, and no line is
// taken for a request.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

// pageName is the command's words, joined.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page renders the page of one command.
func page(cmd *cobra.Command, info Info) []byte {
	r := &roff{}
	name := pageName(cmd)
	r.request("TH", strings.ToUpper(name), fmt.Sprint(info.Section), "", cmd.Root().Name(), "kiln")
	r.request("SH", "NAME")
	// What stands before the dash is what man(1) finds the page by.
	r.WriteString(escape(name) + ` \- ` + escape(cmd.Short) + "\n")
	r.request("SH", "SYNOPSIS")
	r.request("B", cmd.CommandPath())
	r.text(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath()))
	if long := cmd.Long; long != "" {
		r.request("SH", "DESCRIPTION")
		r.text(long)
	}
	if len(shown(cmd)) > 0 {
		r.request("SH", "COMMANDS")
		for _, sub := range shown(cmd) {
			r.request("TP")
			r.request("B", sub.Name())
			r.text(sub.Short + fmt.Sprintf("; see %s(%d)", pageName(sub), info.Section))
		}
	}
	r.flags("OPTIONS", cmd.NonInheritedFlags())
	r.flags("GLOBAL OPTIONS", cmd.InheritedFlags())
	if cmd.Example != "" {
		r.request("SH", "EXAMPLES")
		r.request("nf")
		for line := range strings.Lines(cmd.Example) {
			r.WriteString(escape(strings.TrimRight(line, "\n")) + "\n")
		}
		r.request("fi")
	}
	r.ending(cmd, info)
	return []byte(r.String())
}

// flags writes what may be given.
func (r *roff) flags(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	r.request("SH", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		words := "--" + f.Name
		if f.Shorthand != "" {
			words = "-" + f.Shorthand + ", " + words
		}
		r.request("TP")
		r.request("B", strings.TrimSpace(words+" "+strings.TrimSuffix(kind, "Array")))
		if usage == "" {
			usage = "see the description"
		}
		if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0" && d != "0s" && !strings.Contains(usage, "(default") {
			usage += " (default " + d + ")"
		}
		r.text(usage)
	})
}

// ending writes files and other pages.
func (r *roff) ending(cmd *cobra.Command, info Info) {
	if len(info.Files) > 0 && !cmd.HasParent() {
		r.request("SH", "FILES")
		for _, f := range info.Files {
			r.request("TP")
			r.request("I", f[0])
			r.text(f[1])
		}
	}
	also := info.SeeAlso
	if cmd.HasParent() {
		also = []string{fmt.Sprintf("%s(%d)", pageName(cmd.Parent()), info.Section)}
	}
	if len(also) > 0 {
		r.request("SH", "SEE ALSO")
		r.text(strings.Join(also, ", "))
	}
}
