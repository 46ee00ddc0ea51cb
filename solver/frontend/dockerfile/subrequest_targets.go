package dockerfile

import (
	"bytes"
	"fmt"
	"text/tabwriter"

	"github.com/kilnbuild/kiln/solver/frontend"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// targetList is the answer to requestTargets.
type targetList struct {
	Targets []target `json:"targets"`
	Sources [][]byte `json:"sources"`
}

// target is a stage as clients read it.
type target struct {
	Name        string       `json:"name,omitempty"`
	Default     bool         `json:"default,omitempty"`
	Description string       `json:"description,omitempty"`
	Base        string       `json:"base,omitempty"`
	Platform    string       `json:"platform,omitempty"`
	Location    *pb.Location `json:"location,omitempty"`
}

// targets lists the file's stages as they are written.
func (r *request) targets() (*frontend.Result, error) {
	source, err := syntax.Parse(r.text.Data)
	if err != nil {
		return nil, err
	}
	file, err := instruction.Parse(source)
	if err != nil {
		return nil, err
	}
	list := targetList{Sources: [][]byte{r.text.Data}}
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprint(table, "TARGET\tDESCRIPTION\n")
	for i, stage := range file.Stages {
		last := i == len(file.Stages)-1
		list.Targets = append(list.Targets, target{
			Name: stage.Name, Default: last, Description: stage.Description, Base: stage.Base, Platform: stage.Platform,
			Location: location(stage.Ranges),
		})
		name := stage.Name
		switch {
		case last && name == "":
			name = "(default)"
		case last:
			name += " (default)"
		}
		fmt.Fprintf(table, "%s\t%s\n", name, stage.Description)
	}
	if err := table.Flush(); err != nil {
		return nil, err
	}
	return answer(list, text.Bytes())
}
