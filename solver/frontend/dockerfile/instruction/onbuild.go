package instruction

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// onbuildPrefix is what comes before the trigger's own text.
var onbuildPrefix = regexp.MustCompile(`(?i)^\s*ONBUILD\s*`)

// Onbuild stores an instruction for builds that start from the image.
//
//	ONBUILD <instruction>
type Onbuild struct {
	Meta
	// Trigger is the instruction's text, here-documents included.
	Trigger string
}

// parseOnbuild keeps the trigger's text rather than its meaning: it goes into
// the image and is read by a later build, perhaps by another frontend.
func parseOnbuild(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) == 0 {
		return nil, errAtLeastOne("ONBUILD")
	}
	if err := noFlags(raw); err != nil {
		return nil, err
	}
	switch keyword := strings.ToUpper(strings.TrimSpace(raw.Args[0])); keyword {
	case "ONBUILD":
		return nil, errors.New("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed") //nolint:staticcheck // the text clients know
	case "MAINTAINER", "FROM":
		return nil, fmt.Errorf("%s isn't allowed as an ONBUILD trigger", keyword)
	}
	var trigger strings.Builder
	trigger.WriteString(onbuildPrefix.ReplaceAllString(raw.Source, ""))
	for _, doc := range raw.Heredocs {
		trigger.WriteString("\n" + doc.Content + doc.Name)
	}
	return &Onbuild{Meta: meta(raw), Trigger: trigger.String()}, nil
}
