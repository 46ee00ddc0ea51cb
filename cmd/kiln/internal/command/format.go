package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/spf13/cobra"
)

// formatFlag adds --format.
func formatFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("format", "", "format the output using the given Go template, e.g. '{{json .}}'")
}

// parseFormat reads a template; "json" is short for the obvious one.
func parseFormat(format string) (*template.Template, error) {
	if format == "json" {
		format = "{{json .}}"
	}
	funcs := template.FuncMap{"json": func(v any) (string, error) {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return strings.TrimSpace(b.String()), err
	}}
	t, err := template.New("").Funcs(funcs).Parse(format)
	if err != nil {
		return nil, fmt.Errorf("--format: %w", err)
	}
	return t, nil
}

// printFormat prints a value and ends the line.
func printFormat(w io.Writer, t *template.Template, value any) error {
	if err := t.Execute(w, value); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

// table returns a writer that lines columns up as people's scripts expect:
// with tabs.
func table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 1, 8, 1, '\t', 0) }
