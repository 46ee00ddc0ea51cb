package dockerfile

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/kilnbuild/kiln/solver/frontend"
)

// description tells of one subrequest.
type description struct {
	Name        string      `json:"name"`
	Version     string      `json:"version"`
	Type        string      `json:"type"`
	Description string      `json:"description"`
	Opts        []parameter `json:"opts"`
	Inputs      []parameter `json:"inputs"`
	Metadata    []parameter `json:"metadata"`
	Refs        []parameter `json:"refs"`
}

// parameter is something that a subrequest takes or gives.
type parameter struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// describe lists the subrequests that people may call by name.
func describe() (*frontend.Result, error) {
	all := []description{
		{Name: requestOutline, Description: "List all parameters current build target supports",
			Opts: []parameter{{Name: "target", Description: "Target build stage"}}},
		{Name: requestTargets, Description: "List all targets current build supports", Opts: []parameter{}},
		{Name: requestDescribe, Description: "List available subrequest types"},
	}
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 1, ' ', 0)
	fmt.Fprint(table, "NAME\tVERSION\tDESCRIPTION\n")
	for i := range all {
		all[i].Version, all[i].Type = answerVersion, "rpc"
		all[i].Metadata = []parameter{{Name: "result.json"}, {Name: "result.txt"}}
		fmt.Fprintf(table, "%s\t%s\t%s\n", strings.TrimPrefix(all[i].Name, "frontend."), answerVersion, all[i].Description)
	}
	if err := table.Flush(); err != nil {
		return nil, err
	}
	return answer(all, text.Bytes())
}
