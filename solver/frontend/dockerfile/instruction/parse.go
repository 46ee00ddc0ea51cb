package instruction

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// File is a Dockerfile's stages.
type File struct {
	// Escape is the escape character.
	Escape rune
	// Args are the ARGs before the first FROM.
	Args []*Arg
	// Stages in order.
	Stages []*Stage
	// Gaps are the last lines of instructions with a blank line inside.
	Gaps []int
}

// MaxStages bounds the number of stages of a file.
const MaxStages = 2000

// Parse reads all instructions. On an error the file holds what came before it,
// which lint rules still look at.
func Parse(source *syntax.File) (*File, error) {
	file := &File{Escape: source.Escape}
	for _, raw := range source.Instructions {
		if raw.EmptyContinuation {
			file.Gaps = append(file.Gaps, raw.ContinuationEnd)
		}
	}
	for _, raw := range source.Instructions {
		if err := file.add(raw); err != nil {
			return file, err
		}
	}
	return file, nil
}

// add files an instruction: ARGs before the first FROM with the file, all
// others with the last stage.
func (f *File) add(raw *syntax.Instruction) error {
	if strings.EqualFold(raw.Keyword, "from") {
		stage, err := parseFrom(raw)
		if err == nil && len(f.Stages) == MaxStages {
			err = fmt.Errorf("more than the max allowed number of %d stages", MaxStages)
		}
		if err != nil {
			return parseError(err, raw)
		}
		f.Stages = append(f.Stages, stage)
		return nil
	}
	parsed, err := parseOne(raw)
	if err != nil {
		return parseError(err, raw)
	}
	if len(f.Stages) == 0 {
		arg, ok := parsed.(*Arg)
		if !ok {
			return syntax.At(errors.New("no build stage in current context"), raw.Ranges())
		}
		f.Args = append(f.Args, arg)
		return nil
	}
	stage := f.Stages[len(f.Stages)-1]
	stage.Instructions = append(stage.Instructions, parsed)
	return nil
}

// parseError names the line in the text, too, for clients that do not know of
// places.
func parseError(err error, raw *syntax.Instruction) error {
	return syntax.At(fmt.Errorf("dockerfile parse error on line %d: %w", raw.First, err), raw.Ranges())
}

// ParseTrigger reads the text of an ONBUILD trigger. The instruction is given
// ranges, those of the FROM that fires it.
func ParseTrigger(text string, ranges []syntax.Range) (Instruction, error) {
	source, err := syntax.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	if len(source.Instructions) != 1 {
		return nil, errors.New("onbuild trigger should be a single expression")
	}
	raw := source.Instructions[0]
	if strings.EqualFold(raw.Keyword, "from") {
		return nil, errors.New("FROM is not allowed as an onbuild trigger")
	}
	parsed, err := parseOne(raw)
	if err != nil {
		return nil, err
	}
	parsed.About().Ranges = ranges
	return parsed, nil
}

// parsers maps keywords, in lower case, to what reads them. FROM is not among
// them: it begins a stage.
var parsers = map[string]func(*syntax.Instruction) (Instruction, error){
	"add": parseAdd, "arg": parseArg, "cmd": parseCmd, "copy": parseCopy, "entrypoint": parseEntrypoint,
	"env": parseEnv, "expose": parseExpose, "healthcheck": parseHealthcheck, "label": parseLabel,
	"maintainer": parseMaintainer, "onbuild": parseOnbuild, "run": parseRun, "shell": parseShell,
	"stopsignal": parseStopsignal, "user": parseUser, "volume": parseVolume, "workdir": parseWorkdir,
}

// parseOne reads any instruction but FROM.
func parseOne(raw *syntax.Instruction) (Instruction, error) {
	parse, ok := parsers[strings.ToLower(raw.Keyword)]
	if !ok {
		err := fmt.Errorf("unknown instruction: %s", raw.Keyword)
		return nil, suggest.ErrorFold(err, raw.Keyword, syntax.Keywords())
	}
	return parse(raw)
}

func errAtLeastOne(keyword string) error {
	return fmt.Errorf("%s requires at least one argument", keyword)
}

func errExactlyOne(keyword string) error {
	return fmt.Errorf("%s requires exactly one argument", keyword)
}

// single returns the only argument of an instruction that takes one and no
// flags.
func single(raw *syntax.Instruction, keyword string) (string, error) {
	if len(raw.Args) != 1 {
		return "", errExactlyOne(keyword)
	}
	return raw.Args[0], noFlags(raw)
}

// describe finds the comment that documents name: a line starting with it.
func describe(comments []string, name string) string {
	if name == "" {
		return ""
	}
	for _, comment := range comments {
		if text, ok := strings.CutPrefix(comment, name+" "); ok {
			return text
		}
	}
	return ""
}
