package lint

import (
	"slices"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/instruction"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// check runs the rules on a file's shape and lists the warnings as their one
// line.
func check(t *testing.T, config Config, text string) []string {
	t.Helper()
	source, err := syntax.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	linter := New(config, func(w Warning) { got = append(got, w.Short()) })
	file, err := instruction.Parse(source)
	linter.Parsed(file)
	if err == nil {
		linter.Whole(file)
	}
	return got
}

func TestStructure(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string
	}{
		{"FROM a AS b\nRUN x\n", nil},
		{"FROM a AS Build\n", []string{"StageNameCasing: Stage name 'Build' should be lowercase (line 1)"}},
		{"FROM a as b\n", []string{"FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"}},
		{"FROM a\nRUN x \\\n\n  y\n", []string{"NoEmptyContinuation: Empty continuation line (line 4)"}},
		{"FROM a\nrun x\nRUN y\n", []string{"ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase) (line 2)"}},
		{"from a\nrun x\nRUN y\n", []string{"ConsistentInstructionCasing: Command 'RUN' should match the case of the command majority (lowercase) (line 3)"}},
		{"FROM a AS b\nFROM a AS b\n", []string{`DuplicateStageName: Duplicate stage name "b", stage names should be unique (line 2)`}},
		{"FROM a AS scratch\n", []string{`ReservedStageName: Stage name should not use the same name as reserved stage "scratch" (line 1)`}},
		{"FROM a\nMAINTAINER x\n", []string{"MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"}},
		{"FROM a AS Build\nFOO\n", []string{"StageNameCasing: Stage name 'Build' should be lowercase (line 1)"}},
		{"# check=skip=StageNameCasing\n#\n# check=skip=StageNameCasing\nFROM a AS Build\n", nil},
	} {
		if got := check(t, Config{}, tc.text); !slices.Equal(got, tc.want) {
			t.Errorf("%q:\n got %q\nwant %q", tc.text, got, tc.want)
		}
	}
}

func TestExperimental(t *testing.T) {
	text := "# other words\nFROM a AS b\n# V is it\nARG V W\n"
	if got := check(t, Config{}, text); got != nil {
		t.Errorf("without asking: %q", got)
	}
	want := []string{"InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>` (line 2)"}
	for _, config := range []Config{{ExperimentalAll: true}, {Experimental: []string{"InvalidDefinitionDescription"}}} {
		if got := check(t, config, text); !slices.Equal(got, want) {
			t.Errorf("asked: %q", got)
		}
	}
}

func TestParseConfig(t *testing.T) {
	got, err := ParseConfig(" skip=A, B;error=true; experimental=all")
	if err != nil || !slices.Equal(got.Skip, []string{"A", "B"}) || !got.Error || !got.ExperimentalAll || got.SkipAll {
		t.Errorf("%+v, %v", got, err)
	}
	for in, want := range map[string]string{
		"skip":       `invalid check option "skip"`,
		"foo=bar":    `invalid check option "foo"`,
		"error=okay": `failed to parse check option "error=okay": strconv.ParseBool: parsing "okay": invalid syntax`,
	} {
		if _, err := ParseConfig(in); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	if _, err := FileConfig([]byte("# check=x\nFROM a")); err == nil || !strings.HasPrefix(err.Error(), "failed to parse check options: ") {
		t.Errorf("directive: %v", err)
	}
	if config, err := FileConfig([]byte("# check=skip=all\nFROM a")); err != nil || !config.SkipAll {
		t.Errorf("%+v, %v", config, err)
	}
}

func TestErr(t *testing.T) {
	linter := New(Config{Error: true}, func(Warning) {})
	if linter.Err() != nil {
		t.Error("an error without warnings")
	}
	about := &instruction.Meta{Keyword: "WORKDIR", Ranges: syntax.Lines(1, 1)}
	linter.RelativeWorkdir(about, "x")
	linter.ShellForm(about)
	if err := linter.Err(); err == nil || err.Error() != "lint violation found for rules: JSONArgsRecommended, WorkdirRelativePath" {
		t.Errorf("got %v", err)
	}
	var none *Linter
	none.RelativeWorkdir(about, "x")
	if none.Err() != nil {
		t.Error("a nil linter fails")
	}
}

func TestMessages(t *testing.T) {
	about := &instruction.Meta{Keyword: "ENV", Ranges: syntax.Lines(7, 7)}
	stage := &instruction.Stage{Meta: *about, Base: "$X", Platform: "$TARGETPLATFORM"}
	amd, arm := ocispecs.Platform{OS: "linux", Architecture: "amd64"}, ocispecs.Platform{OS: "linux", Architecture: "arm64"}
	for _, tc := range []struct {
		run  func(l *Linter)
		want string
	}{
		{func(l *Linter) { l.Secret(about, "ENV", "DB_PASSWORD") }, `SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV "DB_PASSWORD") (line 7)`},
		{func(l *Linter) { l.Secret(about, "ENV", "TOKEN_FILE") }, ""},
		{func(l *Linter) { l.Secret(about, "ENV", "TOKENIZER") }, ""},
		{func(l *Linter) { l.Legacy(about, []instruction.Pair{{Legacy: true}, {}}) }, `LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value" format (line 7)`},
		{func(l *Linter) { l.Undefined(about, map[string]struct{}{"VERSON": {}}, []string{"VERSION"}) }, "UndefinedVar: Usage of undefined variable '$VERSON' (did you mean $VERSION?) (line 7)"},
		{func(l *Linter) { l.Port(about, "80/TCP", "TCP", false) }, "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 7)"},
		{func(l *Linter) { l.Port(about, "1:80", "tcp", true) }, "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1:80' (line 7)"},
		{func(l *Linter) { l.Repeated(about, syntax.Lines(3, 3)) }, "MultipleInstructionsDisallowed: Multiple ENV instructions should not be used in the same stage because only the last one will be used (line 3)"},
		{func(l *Linter) { l.Ignored(about, "Copy", "x") }, `CopyIgnoredFile: Attempting to Copy file "x" that is excluded by .dockerignore (line 7)`},
		{func(l *Linter) { l.DefaultBase(stage) }, "InvalidDefaultArgInFrom: Default value for ARG $X results in empty or invalid base image name (line 7)"},
		{func(l *Linter) { l.FromArgs(stage, shell.Result{Undefined: map[string]struct{}{"X": {}}}, nil) }, "UndefinedArgInFrom: FROM argument 'X' is not declared (line 7)"},
		{func(l *Linter) {
			l.Platform(stage, shell.Result{Text: "linux/amd64", Used: map[string]struct{}{"TARGETPLATFORM": {}}}, "linux/amd64")
		}, "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 7)"},
		{func(l *Linter) { l.Platform(stage, shell.Result{Text: "linux/arm64"}, "linux/amd64") }, `FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/arm64" (line 7)`},
		{func(l *Linter) { l.BasePlatform(about, "img", arm, amd) }, `InvalidBaseImagePlatform: Base image img was pulled with platform "linux/amd64", expected "linux/arm64" for current build (line 7)`},
		{func(l *Linter) { l.BasePlatform(about, "img", amd, amd) }, ""},
	} {
		got := ""
		tc.run(New(Config{}, func(w Warning) { got += w.Short() }))
		if got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

func TestURLs(t *testing.T) {
	for rule, want := range map[*Rule]string{
		JSONArgsRecommended:             "json-args-recommended",
		FromPlatformFlagConstDisallowed: "from-platform-flag-const-disallowed",
		SecretsUsedInArgOrEnv:           "secrets-used-in-arg-or-env",
		UndefinedVar:                    "undefined-var",
	} {
		if rule.URL != "https://docs.docker.com/go/dockerfile/rule/"+want+"/" {
			t.Errorf("%s: %s", rule.Name, rule.URL)
		}
	}
}
