package lint

import (
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Parsed applies the rules on single instructions, in their order. A file that
// failed to parse is checked as far as it goes.
func (l *Linter) Parsed(file *instruction.File) {
	for _, line := range file.Gaps {
		l.warn(NoEmptyContinuation, syntax.Lines(line, line), "Empty continuation line")
	}
	for _, arg := range file.Args {
		l.arg(arg)
	}
	for _, stage := range file.Stages {
		l.from(stage)
		for _, i := range stage.Instructions {
			switch i := i.(type) {
			case *instruction.Arg:
				l.arg(i)
			case *instruction.Maintainer:
				l.For(i.Comments).warn(MaintainerDeprecated, i.Ranges, "Maintainer instruction is deprecated in favor of using label")
			}
		}
	}
}

// arg checks the comment above an ARG.
func (l *Linter) arg(arg *instruction.Arg) {
	names := make([]string, len(arg.Args))
	for i, a := range arg.Args {
		names[i] = a.Name
	}
	l.For(arg.Comments).description("ARG", names, &arg.Meta)
}

// from checks how a FROM is written.
func (l *Linter) from(stage *instruction.Stage) {
	l = l.For(stage.Comments)
	if stage.WrittenName != stage.Name {
		l.warn(StageNameCasing, stage.Ranges, "Stage name '%s' should be lowercase", stage.WrittenName)
	}
	if stage.As != "" && !sameCase(stage.Keyword, stage.As) {
		l.warn(FromAsCasing, stage.Ranges, "'%s' and '%s' keywords' casing do not match", stage.As, stage.Keyword)
	}
	if stage.Name != "" {
		l.description("FROM", []string{stage.Name}, &stage.Meta)
	}
}

// sameCase tells whether word has keyword's case. A keyword of mixed case is
// another rule's business.
func sameCase(keyword, word string) bool {
	switch keyword {
	case strings.ToLower(keyword):
		return word == strings.ToLower(word)
	case strings.ToUpper(keyword):
		return word == strings.ToUpper(word)
	}
	return true
}

// description checks that the last comment above a definition starts with what
// it defines.
func (l *Linter) description(keyword string, names []string, about *instruction.Meta) {
	if len(about.Comments) == 0 || len(names) == 0 {
		return
	}
	first, _, _ := strings.Cut(about.Comments[len(about.Comments)-1], " ")
	if slices.Contains(names, first) {
		return
	}
	example := names[0]
	if len(names) > 1 {
		example = "<arg_key>"
	}
	l.warn(InvalidDefinitionDescription, about.Ranges, "Comment for %s should follow the format: `# %s <description>`", keyword, example)
}

// Whole applies the rules that compare the parts of a complete file with each
// other.
func (l *Linter) Whole(file *instruction.File) {
	l.stageNames(file.Stages)
	l.casing(file.Stages)
}

// stageNames warns about names that stand for something else: a reserved one,
// or a second of the same name, which hides the first.
func (l *Linter) stageNames(stages []*instruction.Stage) {
	seen := map[string]bool{"": true}
	for _, stage := range stages {
		if stage.Name == "context" || stage.Name == "scratch" {
			l.warn(ReservedStageName, stage.Ranges, "Stage name should not use the same name as reserved stage %q", stage.Name)
		}
		if stage.Name != "" && seen[stage.Name] {
			l.warn(DuplicateStageName, stage.Ranges, "Duplicate stage name %q, stage names should be unique", stage.Name)
		}
		seen[stage.Name] = true
	}
}

// casing wants all keywords in the case that most have; when in doubt, upper
// case.
func (l *Linter) casing(stages []*instruction.Stage) {
	var all []*instruction.Meta
	for _, stage := range stages {
		all = append(all, &stage.Meta)
		for _, i := range stage.Instructions {
			all = append(all, i.About())
		}
	}
	lower, upper := 0, 0
	for _, about := range all {
		switch about.Keyword {
		case strings.ToLower(about.Keyword):
			lower++
		case strings.ToUpper(about.Keyword):
			upper++
		}
	}
	want, name := strings.ToUpper, "uppercase"
	if lower > upper {
		want, name = strings.ToLower, "lowercase"
	}
	for _, about := range all {
		if about.Keyword != want(about.Keyword) {
			l.warn(ConsistentInstructionCasing, about.Ranges, "Command '%s' should match the case of the command majority (%s)", about.Keyword, name)
		}
	}
}
