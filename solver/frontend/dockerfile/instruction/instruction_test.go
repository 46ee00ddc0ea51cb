package instruction

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/shell"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// testExpander replaces variables from a fixed environment.
type testExpander struct{ env shell.Env }

func (x testExpander) Word(text string) (string, error) {
	result, err := shell.Expander{}.Expand(text, x.env)
	return result.Text, err
}

func (x testExpander) Document(text string) (string, error) {
	result, err := shell.Expander{PlainQuotes: true}.Expand(text, x.env)
	return result.Text, err
}

var expander = testExpander{shell.Map{"X": "value", "T": "cache"}}

func parse(t *testing.T, text string) (*File, error) {
	t.Helper()
	source, err := syntax.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(source)
}

// only parses one instruction below a FROM.
func only(t *testing.T, text string) Instruction {
	t.Helper()
	file, err := parse(t, "FROM a\n"+text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return file.Stages[0].Instructions[0]
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"QUUX bar":                         "unknown instruction: QUUX",
		"CPOY a b":                         "unknown instruction: CPOY (did you mean COPY?)",
		"runn x":                           "unknown instruction: runn (did you mean run?)",
		"FROM":                             "FROM requires either one or three arguments",
		"FROM a b":                         "FROM requires either one or three arguments",
		"FROM a AS 1x":                     `invalid name for build stage: "1x", name can't start with a number or contain symbols`,
		"FROM --platfrm=x a":               "unknown flag: --platfrm (did you mean platform?)",
		"COPY a":                           "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
		"ADD":                              "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
		"COPY a <<EOF\nEOF":                "COPY cannot accept a heredoc as a destination",
		"COPY --link --link a b":           "duplicate flag specified: --link",
		"COPY --link= a b":                 "missing a value on flag: --link",
		"COPY --link=x a b":                "expecting boolean value for flag --link, not: x",
		"COPY --from a b":                  "missing a value on flag: --from",
		"COPY --keep-git-dir a b":          "unknown flag: --keep-git-dir",
		"ADD --parents a b":                "unknown flag: --parents",
		"ENV":                              "ENV requires at least one argument",
		"ENV =x":                           "ENV names can not be blank",
		"LABEL":                            "LABEL requires at least one argument",
		"ARG":                              "ARG requires at least one argument",
		"ARG =x":                           "ARG names can not be blank",
		"MAINTAINER":                       "MAINTAINER requires exactly one argument",
		"WORKDIR":                          "WORKDIR requires exactly one argument",
		"USER":                             "USER requires exactly one argument",
		"STOPSIGNAL":                       "STOPSIGNAL requires exactly one argument",
		"VOLUME":                           "VOLUME requires at least one argument",
		`VOLUME ["a", " "]`:                "VOLUME specified can not be an empty string",
		"EXPOSE":                           "EXPOSE requires at least one argument",
		"SHELL []":                         "SHELL requires at least one argument",
		"SHELL bash":                       "SHELL requires the arguments to be in JSON form",
		"ONBUILD":                          "ONBUILD requires at least one argument",
		"ONBUILD ONBUILD RUN x":            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
		"ONBUILD from x":                   "FROM isn't allowed as an ONBUILD trigger",
		"HEALTHCHECK":                      "HEALTHCHECK requires at least one argument",
		"HEALTHCHECK NONE x":               "HEALTHCHECK NONE takes no arguments",
		"HEALTHCHECK CMD":                  "Missing command after HEALTHCHECK CMD",
		"HEALTHCHECK CM x":                 `Unknown type "CM" in HEALTHCHECK (try CMD)`,
		"HEALTHCHECK --interval=1us CMD x": `Interval "interval" cannot be less than 1ms`,
		"HEALTHCHECK --retries=-1 CMD x":   "--retries cannot be negative (-1)",
		"RUN --network=x y":                `invalid network mode "x"`,
		"RUN --security=x y":               `security "x" is not valid`,
		"RUN --mount=from=$X y":            "'from' doesn't support variable expansion, define alias stage instead",
		"RUN --device=a=b,name=c y":        "device name already set to a=b",
	} {
		_, err := parse(t, "FROM a\n"+in)
		if err == nil || err.Error() != "dockerfile parse error on line 2: "+want {
			t.Errorf("%s: %v, want %s", in, err, want)
			continue
		}
		if places := syntax.Places(err); len(places) != 1 || places[0][0].Start.Line != 2 {
			t.Errorf("%s: places %v", in, places)
		}
	}
	if _, err := parse(t, "RUN x\nFROM a"); err == nil || err.Error() != "no build stage in current context" {
		t.Errorf("RUN before FROM: %v", err)
	}
}

func TestMountErrors(t *testing.T) {
	for in, want := range map[string]string{
		"type=x":                          `unsupported mount type "x"`,
		"type=cach":                       `unsupported mount type "cach" (did you mean cache?)`,
		"quux=bar":                        "unexpected key 'quux' in 'quux=bar'",
		"tagret=bar":                      "unexpected key 'tagret' in 'tagret=bar' (did you mean target?)",
		"target":                          "invalid field 'target' must be a key=value pair",
		"sharing=private,target=/x":       "invalid cache sharing set for bind mount",
		"type=cache,sharing=x":            `unsupported sharing value "x"`,
		"type=secret":                     "invalid secret mount. one of source, target required",
		"type=secret,id=a,source=b":       "both source and id can't be set",
		"type=secret,id=a,from=b":         "secret mount should not have a from",
		"type=secret,id=a,sharing=shared": "secret mount should not define sharing",
		"target=/x,uid=1":                 `uid not allowed for "bind" type mounts`,
		"type=cache,target=/x,mode=9":     "invalid value 9 for mode",
		"type=cache,target=/x,uid=x":      "invalid value x for uid",
		"required,target=/x":              "unexpected key 'required' for mount type 'bind'",
		"size=1m,target=/x":               "unexpected key 'size' for mount type 'bind'",
		"type=tmpfs,size=x":               "invalid value for size: x",
		"target=/x,ro=x":                  "invalid value for ro: x",
	} {
		run := only(t, "RUN --mount="+in+" y").(*Run)
		if _, err := run.Expand(expander); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}

func TestMounts(t *testing.T) {
	run := only(t, "RUN --mount=type=$T,id=$X,dst=/a,mode=0700,uid=5 --mount=type=tmpfs,target=/t,size=1k"+
		" --mount=from=st,src=s,target=/b,rw --mount=type=secret,id=s,env=E,required --mount=type=ssh,readonly=false x").(*Run)
	if run.Mounts[2].From != "st" {
		t.Errorf("before expansion: %+v", run.Mounts[2])
	}
	expanded, err := run.Expand(expander)
	if err != nil {
		t.Fatal(err)
	}
	mounts := expanded.(*Run).Mounts
	if m := mounts[0]; m.Type != MountCache || m.ID != "value" || m.Target != "/a" || *m.Mode != 0o700 || *m.UID != 5 || m.ReadOnly {
		t.Errorf("cache: %+v", m)
	}
	if m := mounts[1]; m.Size != 1024 || m.ReadOnly {
		t.Errorf("tmpfs: %+v", m)
	}
	if m := mounts[2]; m.From != "st" || m.Source != "s" || m.ReadOnly {
		t.Errorf("bind: %+v", m)
	}
	if m := mounts[3]; *m.Env != "E" || !m.Required || !m.ReadOnly {
		t.Errorf("secret: %+v", m)
	}
	if m := mounts[4]; m.ReadOnly {
		t.Errorf("ssh: %+v", m)
	}
	if run.Mounts[0].ID != "" {
		t.Error("expansion changed the parsed instruction")
	}
}

func TestFiles(t *testing.T) {
	copied := only(t, "COPY --from=st --chown=$X --chmod=755 --link --parents --exclude=a --exclude=b src1 $X <<E <<'F' dst/\n$X\nE\n$X\nF").(*Copy)
	expanded, err := copied.Expand(expander)
	if err != nil {
		t.Fatal(err)
	}
	got := expanded.(*Copy)
	if got.From != "st" || got.Chown != "value" || got.Chmod != "755" || !got.Link || !got.Parents || !slices.Equal(got.Exclude, []string{"a", "b"}) {
		t.Errorf("flags: %+v", got)
	}
	if !slices.Equal(got.Sources, []string{"src1", "value"}) || got.Dest != "dst/" {
		t.Errorf("paths: %+v", got.Files)
	}
	if got.Inline[0].Content != "value\n" || got.Inline[1].Content != "$X\n" || got.Inline[1].Name != "F" {
		t.Errorf("inline: %+v", got.Inline)
	}
	if copied.Sources[1] != "$X" || copied.Inline[0].Content != "$X\n" {
		t.Error("expansion changed the parsed instruction")
	}
	added := only(t, "ADD --unpack=false --keep-git-dir --checksum=sha256:$X a b").(*Add)
	if added.Unpack == nil || *added.Unpack || added.KeepGitDir == nil || !*added.KeepGitDir {
		t.Errorf("ADD: %+v", added)
	}
}

func TestHealthcheck(t *testing.T) {
	got := only(t, `HEALTHCHECK --interval=5m --timeout=3s --start-period=1s --start-interval=0 --retries=3 CMD curl "x"`).(*Healthcheck)
	if !slices.Equal(got.Test, []string{"CMD-SHELL", `curl "x"`}) || got.Interval != 5*time.Minute || got.Retries != 3 || got.StartInterval != 0 {
		t.Errorf("got %+v", got)
	}
	if got := only(t, `HEALTHCHECK CMD ["a"]`).(*Healthcheck); !slices.Equal(got.Test, []string{"CMD", "a"}) {
		t.Errorf("got %+v", got)
	}
	if got := only(t, `HEALTHCHECK none`).(*Healthcheck); !slices.Equal(got.Test, []string{"NONE"}) {
		t.Errorf("got %+v", got)
	}
}

func TestStages(t *testing.T) {
	file, err := parse(t, "# V the version\nARG V=1 W\n# build makes it\nFROM --platform=$P img:$V aS Build\nRUN a\nfrom build\nCMD []\nENTRYPOINT []\nONBUILD copy <<E /\nx\nE\n")
	if err != nil {
		t.Fatal(err)
	}
	if a := file.Args[0].Args; a[0].Description != "the version" || *a[0].Default != "1" || a[1].Default != nil {
		t.Errorf("args %+v", a)
	}
	if s := file.Stages[0]; s.Name != "build" || s.As != "aS" || s.WrittenName != "Build" || s.Platform != "$P" || s.Description != "makes it" {
		t.Errorf("stage %+v", s)
	}
	rest := file.Stages[1].Instructions
	if cmd := rest[0].(*Cmd); cmd.Args == nil || cmd.Shell {
		t.Errorf("CMD %+v", cmd)
	}
	if entry := rest[1].(*Entrypoint); entry.Args != nil {
		t.Errorf("ENTRYPOINT %+v", entry)
	}
	trigger := rest[2].(*Onbuild).Trigger
	if trigger != "copy <<E /\nx\nE" {
		t.Errorf("trigger %q", trigger)
	}
	fired, err := ParseTrigger(trigger, syntax.Lines(7, 7))
	if err != nil || fired.(*Copy).Inline[0].Content != "x\n" || fired.About().Ranges[0].Start.Line != 7 {
		t.Errorf("fired %+v, %v", fired, err)
	}
	if _, err := ParseTrigger("RUN a\nRUN b", nil); err == nil {
		t.Error("two instructions made a trigger")
	}
}

func TestTooManyStages(t *testing.T) {
	if _, err := parse(t, strings.Repeat("FROM a\n", MaxStages+1)); err == nil || !strings.Contains(err.Error(), "number of 2000 stages") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"RUN --mount=type=cache,target=/x a", "COPY --link <<E /\nE", "HEALTHCHECK --retries=1 CMD x", "ONBUILD ADD a b", "ARG a=b c", "EXPOSE 80 81", "VOLUME [\"a\"]"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		source, err := syntax.Parse([]byte("FROM a\n" + text))
		if err != nil {
			return
		}
		file, err := Parse(source)
		if err != nil {
			return
		}
		for _, stage := range file.Stages {
			for _, i := range stage.Instructions {
				if expandable, ok := i.(Expandable); ok {
					_, _ = expandable.Expand(expander)
				}
				if onbuild, ok := i.(*Onbuild); ok {
					_, _ = ParseTrigger(onbuild.Trigger, nil)
				}
			}
		}
	})
}
