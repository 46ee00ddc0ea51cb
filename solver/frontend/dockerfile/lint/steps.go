package lint

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// A name promises a secret if one of its words, between underscores, does and
// none says that it is harmless: GITHUB_TOKEN does, TOKEN_FILE and TOKENIZER do
// not.
var (
	secretName   = regexp.MustCompile(`(?i)(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)`)
	harmlessName = regexp.MustCompile(`(?i)(?:_|^)(?:public|file|version)(?:_|$)`)
)

// Undefined reports variables that an instruction uses and nothing defines;
// known are the names to suggest from.
func (l *Linter) Undefined(about *instruction.Meta, names map[string]struct{}, known []string) {
	l = l.For(about.Comments)
	for _, name := range sorted(names) {
		if !l.applies(UndefinedVar) {
			return
		}
		hint := ""
		if match := suggest.Nearest(name, known); match != "" {
			hint = " (did you mean $" + match + "?)"
		}
		l.warn(UndefinedVar, about.Ranges, "Usage of undefined variable '$%s'%s", name, hint)
	}
}

// Secret reports an ARG or ENV whose name promises a secret.
func (l *Linter) Secret(about *instruction.Meta, keyword, name string) {
	if secretName.MatchString(name) && !harmlessName.MatchString(name) {
		l.For(about.Comments).warn(SecretsUsedInArgOrEnv, about.Ranges,
			"Do not use ARG or ENV instructions for sensitive data (%s %q)", keyword, name)
	}
}

// Legacy reports an assignment without an equals sign.
func (l *Linter) Legacy(about *instruction.Meta, pairs []instruction.Pair) {
	for _, pair := range pairs {
		if pair.Legacy {
			l.For(about.Comments).warn(LegacyKeyValueFormat, about.Ranges,
				"\"%s key=value\" should be used instead of legacy \"%s key value\" format", about.Keyword, about.Keyword)
		}
	}
}

// ShellForm reports CMD or ENTRYPOINT in shell form where no SHELL was chosen.
func (l *Linter) ShellForm(about *instruction.Meta) {
	l.For(about.Comments).warn(JSONArgsRecommended, about.Ranges,
		"JSON arguments recommended for %s to prevent unintended behavior related to OS signals", about.Keyword)
}

// Repeated reports that about overrides an earlier instruction of its kind,
// which stands at earlier.
func (l *Linter) Repeated(about *instruction.Meta, earlier []syntax.Range) {
	l.For(about.Comments).warn(MultipleInstructionsDisallowed, earlier,
		"Multiple %s instructions should not be used in the same stage because only the last one will be used", about.Keyword)
}

// RelativeWorkdir reports a WORKDIR that depends on the base image's.
func (l *Linter) RelativeWorkdir(about *instruction.Meta, path string) {
	l.For(about.Comments).warn(WorkdirRelativePath, about.Ranges,
		"Relative workdir %q can have unexpected results if the base image changes", path)
}

// Ignored reports a source of ADD or COPY that an ignore file leaves out.
func (l *Linter) Ignored(about *instruction.Meta, verb, path string) {
	l.For(about.Comments).warn(CopyIgnoredFile, about.Ranges, "Attempting to %s file %q that is excluded by .dockerignore", verb, path)
}

// Port checks how a port of EXPOSE is written: protocol is as written, mapped
// tells of an address or host port.
func (l *Linter) Port(about *instruction.Meta, port, protocol string, mapped bool) {
	l = l.For(about.Comments)
	if protocol != strings.ToLower(protocol) {
		l.warn(ExposeProtoCasing, about.Ranges, "Defined protocol '%s' in EXPOSE instruction should be lowercase", port)
	}
	if mapped {
		l.warn(ExposeInvalidFormat, about.Ranges,
			"EXPOSE instruction should not define an IP address or host-port mapping, found '%s'", port)
	}
}

func sorted(names map[string]struct{}) []string { return slices.Sorted(maps.Keys(names)) }
