package dockerfile

import (
	"bytes"
	"context"
	"fmt"
	"text/tabwriter"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/lower"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// outline is the answer to requestOutline.
type outline struct {
	Name        string         `json:"name,omitempty"`
	Description string         `json:"description,omitempty"`
	Args        []outlineArg   `json:"args,omitempty"`
	Secrets     []outlineInput `json:"secrets,omitempty"`
	SSH         []outlineInput `json:"ssh,omitempty"`
	Sources     [][]byte       `json:"sources,omitempty"`
}

// outlineArg is a build argument as clients read it.
type outlineArg struct {
	Name        string       `json:"name"`
	Description string       `json:"description,omitempty"`
	Value       string       `json:"value,omitempty"`
	Location    *pb.Location `json:"location,omitempty"`
}

// outlineInput is a secret or key agent as clients read it.
type outlineInput struct {
	Name     string       `json:"name"`
	Required bool         `json:"required,omitempty"`
	Location *pb.Location `json:"location,omitempty"`
}

// outline tells what the target can be given.
func (r *request) outline(ctx context.Context) (*frontend.Result, error) {
	file, err := r.parse(nil)
	if err != nil {
		return nil, err
	}
	found, err := lower.Describe(ctx, file, r, r.lowerOptions(r.firstPlatform(), nil))
	if err != nil {
		return nil, err
	}
	out := outline{Name: found.Name, Description: found.Description, Sources: [][]byte{r.text.Data}}
	for _, arg := range found.Args {
		out.Args = append(out.Args, outlineArg{
			Name: arg.Name, Description: arg.Description, Value: arg.Value, Location: location(arg.Ranges),
		})
	}
	out.Secrets, out.SSH = outlineInputs(found.Secrets), outlineInputs(found.Agents)
	return answer(out, out.text())
}

// firstPlatform is the platform that questions are answered for.
func (r *request) firstPlatform() *ocispecs.Platform {
	if len(r.opts.platforms) == 0 {
		return nil
	}
	return &r.opts.platforms[0]
}

func outlineInputs(in []lower.OutlineInput) []outlineInput {
	out := make([]outlineInput, 0, len(in))
	for _, input := range in {
		out = append(out, outlineInput{Name: input.Name, Required: input.Required, Location: location(input.Ranges)})
	}
	return out
}

// text is the outline for people: a table for each kind of thing.
func (o outline) text() []byte {
	var out bytes.Buffer
	if o.Name != "" || o.Description != "" {
		rows := [][]any{{"TARGET:", orDefault(o.Name)}}
		if o.Description != "" {
			rows = append(rows, []any{"DESCRIPTION:", o.Description})
		}
		writeTable(&out, 1, rows)
	}
	if len(o.Args) > 0 {
		rows := [][]any{{"BUILD ARG", "VALUE", "DESCRIPTION"}}
		for _, arg := range o.Args {
			rows = append(rows, []any{arg.Name, arg.Value, arg.Description})
		}
		writeTable(&out, 3, rows)
	}
	for _, kind := range []struct {
		title  string
		inputs []outlineInput
	}{{"SECRET", o.Secrets}, {"SSH", o.SSH}} {
		if len(kind.inputs) == 0 {
			continue
		}
		rows := [][]any{{kind.title, "REQUIRED"}}
		for _, input := range kind.inputs {
			required := ""
			if input.Required {
				required = "true"
			}
			rows = append(rows, []any{input.Name, required})
		}
		writeTable(&out, 3, rows)
	}
	return out.Bytes()
}

func orDefault(name string) string {
	if name == "" {
		return "(default)"
	}
	return name
}

// writeTable writes rows in columns and an empty line after them.
func writeTable(out *bytes.Buffer, padding int, rows [][]any) {
	table := tabwriter.NewWriter(out, 0, 0, padding, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(table, "\t")
			}
			fmt.Fprint(table, cell)
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // a buffer takes everything
	fmt.Fprintln(out)
}
