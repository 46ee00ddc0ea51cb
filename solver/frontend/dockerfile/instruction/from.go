package instruction

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// stageName is what a name may look like in lower case. Numbers are not allowed
// to come first: COPY --from takes them for positions.
var stageName = regexp.MustCompile(`^[a-z][a-z0-9-_.]*$`)

// Stage is FROM and what stands below it.
//
//	FROM [--platform=<platform>] <image or stage> [AS <name>]
type Stage struct {
	Meta
	// Name in lower case, "" if the stage has none.
	Name string
	// Base is the image or stage to start from, not expanded.
	Base string
	// Platform is the flag's value, not expanded.
	Platform string
	// As is the word between base and name as written, WrittenName the name.
	As, WrittenName string
	// Description is the comment above FROM that starts with the stage's name,
	// without the name.
	Description string
	// Instructions of the stage in order.
	Instructions []Instruction
}

// parseFrom reads FROM. The name is kept in lower case, since stages are found
// whatever the case; the written form is for lint rules.
func parseFrom(raw *syntax.Instruction) (*Stage, error) {
	stage := &Stage{Meta: meta(raw)}
	switch {
	case len(raw.Args) == 3 && strings.EqualFold(raw.Args[1], "as"):
		stage.As, stage.WrittenName = raw.Args[1], raw.Args[2]
		stage.Name = strings.ToLower(raw.Args[2])
		if !stageName.MatchString(stage.Name) {
			return nil, fmt.Errorf("invalid name for build stage: %q, name can't start with a number or contain symbols", raw.Args[2])
		}
	case len(raw.Args) != 1:
		return nil, errors.New("FROM requires either one or three arguments")
	}
	given, err := parseFlags(raw, map[string]flagKind{"platform": flagText})
	if err != nil {
		return nil, err
	}
	stage.Base, stage.Platform = raw.Args[0], given.text("platform")
	stage.Description = describe(raw.Comments, stage.Name)
	return stage, nil
}
