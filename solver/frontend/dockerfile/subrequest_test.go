package dockerfile

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

const asked = `ARG VERSION=1
# build makes it
FROM img:$VERSION AS build
# DEBUG says more
ARG DEBUG
RUN --mount=type=secret,id=token,required --mount=type=ssh make
FROM build AS Final
RUN echo $TYPO
`

// ask sends a subrequest and returns both forms of the answer.
func ask(t *testing.T, name, text string, to any, options ...string) string {
	t.Helper()
	result, err := withDockerfile(t, text).solve(append(options, "requestid", name)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(result.Metadata["result.json"], to); err != nil {
		t.Fatal(err)
	}
	if string(result.Metadata["version"]) != "1.0.0" || result.Ref != nil {
		t.Errorf("version %s, ref %v", result.Metadata["version"], result.Ref)
	}
	return string(result.Metadata["result.txt"])
}

func TestDescribe(t *testing.T) {
	var got []description
	text := ask(t, requestDescribe, asked, &got)
	if len(got) != 3 || got[0].Name != "frontend.outline" || got[0].Opts[0].Name != "target" || got[2].Type != "rpc" {
		t.Errorf("got %+v", got)
	}
	if !strings.HasPrefix(text, "NAME                 VERSION DESCRIPTION\noutline              1.0.0   List all") {
		t.Errorf("text:\n%s", text)
	}
}

func TestTargets(t *testing.T) {
	var got targetList
	text := ask(t, requestTargets, asked, &got)
	if len(got.Targets) != 2 || got.Targets[0].Description != "makes it" || !got.Targets[1].Default || got.Targets[1].Base != "build" ||
		got.Targets[0].Location.Ranges[0].Start.Line != 3 || string(got.Sources[0]) != asked {
		t.Errorf("got %+v", got)
	}
	if want := "TARGET          DESCRIPTION\nbuild           makes it\nfinal (default) \n"; text != want {
		t.Errorf("text:\n%s\nwant:\n%s", text, want)
	}
}

func TestOutline(t *testing.T) {
	var got outline
	text := ask(t, requestOutline, asked, &got, "build-arg:DEBUG", "yes")
	if len(got.Args) != 2 || got.Args[0].Name != "VERSION" || got.Args[0].Value != "1" || got.Args[1].Value != "yes" || got.Args[1].Description != "says more" {
		t.Errorf("args %+v", got.Args)
	}
	if len(got.Secrets) != 1 || !got.Secrets[0].Required || len(got.SSH) != 1 || got.SSH[0].Name != "default" || got.Name != "final" {
		t.Errorf("got %+v", got)
	}
	want := "TARGET: final\n\nBUILD ARG   VALUE   DESCRIPTION\nVERSION     1       \nDEBUG       yes     says more\n\n" +
		"SECRET   REQUIRED\ntoken    true\n\nSSH       REQUIRED\ndefault   \n\n"
	if text != want {
		t.Errorf("text:\n%q\nwant:\n%q", text, want)
	}
}

func TestLint(t *testing.T) {
	var got lintReport
	text := ask(t, requestLint, asked, &got)
	if len(got.Warnings) != 1 || got.Warnings[0].RuleName != "StageNameCasing" || got.Sources[0].Filename != "Dockerfile" || got.BuildError != nil {
		t.Errorf("got %+v", got)
	}
	want := "\nWARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\nStage name 'Final' should be lowercase\n" +
		"Dockerfile:7\n--------------------\n   5 |     ARG DEBUG\n   6 |     RUN --mount=type=secret,id=token,required --mount=type=ssh make\n" +
		"   7 | >>> FROM build AS Final\n   8 |     RUN echo $TYPO\n   9 |     \n--------------------\n"
	if text != want {
		t.Errorf("text:\n%s\nwant:\n%s", text, want)
	}
	var broken lintReport
	ask(t, requestLint, "FROM img as x\nFOO", &broken)
	if broken.BuildError == nil || broken.BuildError.Message != "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)" ||
		broken.BuildError.Location.Ranges[0].Start.Line != 2 || len(broken.Warnings) != 1 {
		t.Errorf("got %+v", broken)
	}
	var unused lintReport
	ask(t, requestLint, "FROM img AS unused\nWORKDIR rel\nFROM img\n", &unused)
	if len(unused.Warnings) != 1 {
		t.Errorf("unused stages are checked, too: %+v", unused.Warnings)
	}
}

func TestGraph(t *testing.T) {
	result, err := withDockerfile(t, "FROM img\nRUN x\n").solve("requestid", requestGraph)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Def      map[string]map[string]any
		Metadata map[string]struct{ Description map[string]string }
		Source   struct{ Locations map[string]any }
	}
	if err := json.Unmarshal(result.Metadata["result.json"], &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Def) != 3 || len(got.Source.Locations) != 2 || string(result.Metadata["version"]) != graphVersion {
		t.Errorf("got %+v", got)
	}
	for id, op := range got.Def {
		if _, ok := op["exec"]; ok && got.Metadata[id].Description["llb.customname"] != "[2/2] RUN x" {
			t.Errorf("metadata %v", got.Metadata[id])
		}
	}
}

func TestExcerpt(t *testing.T) {
	data := []byte("1\n2\n3\n4\n5\n6\n7\n8")
	want := "f:3\n--------------------\n   2 |     2\n   3 | >>> 3\n   4 | >>> 4\n   5 |     5\n--------------------\n"
	if got := excerpt("f", data, syntax.Lines(3, 4)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if excerpt("f", data, syntax.Lines(99, 99)) != "" || excerpt("f", data, nil) != "" {
		t.Error("an excerpt of nothing")
	}
}

func FuzzSolve(f *testing.F) {
	for _, seed := range []string{asked, "# syntax=x\nFROM a", "FROM scratch\nCOPY a b", "FROM a\nADD http://h/x /", "{}"} {
		f.Add(seed, "", "")
	}
	f.Add("FROM a", "context:a", "local:x")
	f.Add("FROM a", "platform", "linux/arm64,linux/amd64")
	f.Add("FROM a", "requestid", "frontend.lint")
	f.Fuzz(func(t *testing.T, text, option, value string) {
		b := withDockerfile(t, text)
		_, _ = b.solve("cmdline", "x", option, value)
	})
}
