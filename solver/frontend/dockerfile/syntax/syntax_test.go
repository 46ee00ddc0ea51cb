package syntax

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	file, err := Parse([]byte("\xEF\xBB\xBF# escape=`\r\n# about base\nFROM --platform=linux/amd64 img `\r\n# inside\n\n  AS base\nENV A=1 B='x y' C=\"q\\\"\n" +
		"RUN [\"a\", \"b\"]\nRUN echo \\\nENV old some text\nHEALTHCHECK --interval=5s CMD [\"x\"]\nONBUILD copy a b\n"))
	if err != nil {
		t.Fatal(err)
	}
	if file.Escape != '`' {
		t.Errorf("escape %q", file.Escape)
	}
	from := file.Instructions[0]
	if from.First != 3 || from.Last != 6 || !from.EmptyContinuation {
		t.Errorf("FROM stands on %d-%d, empty continuation %v", from.First, from.Last, from.EmptyContinuation)
	}
	if !slices.Equal(from.Args, []string{"img", "AS", "base"}) || !slices.Equal(from.Flags, []string{"--platform=linux/amd64"}) {
		t.Errorf("FROM: %q %q", from.Flags, from.Args)
	}
	if !slices.Equal(from.Comments, []string{"about base"}) {
		t.Errorf("comments %q", from.Comments)
	}
	want := []Pair{{Name: "A", Value: "1"}, {Name: "B", Value: "'x y'"}, {Name: "C", Value: `"q\"`}}
	if env := file.Instructions[1]; !slices.Equal(env.Pairs, want) {
		t.Errorf("ENV: %v", env.Pairs)
	}
	if run := file.Instructions[2]; !run.JSON || !slices.Equal(run.Args, []string{"a", "b"}) {
		t.Errorf("RUN: %+v", run)
	}
	if run := file.Instructions[3]; run.Args[0] != `echo \` {
		t.Errorf("a backslash continued the line although the escape is a backtick: %q", run.Args)
	}
	if env := file.Instructions[4]; !slices.Equal(env.Pairs, []Pair{{Name: "old", Value: "some text", Legacy: true}}) {
		t.Errorf("ENV: %v", env.Pairs)
	}
	if health := file.Instructions[5]; !health.JSON || !slices.Equal(health.Args, []string{"CMD", "x"}) {
		t.Errorf("HEALTHCHECK: %+v", health)
	}
	if trigger := file.Instructions[6]; !slices.Equal(trigger.Args, []string{"copy", "a", "b"}) {
		t.Errorf("ONBUILD: %q", trigger.Args)
	}
}

func TestParseHeredocs(t *testing.T) {
	file, err := Parse([]byte("FROM a\nCOPY <<one <<-'two' /dst\nfirst $X\none\n\tsecond\n\ttwo\nRUN <<EOF\necho\nEOF\nRUN [\"<<X\"]\nCMD <<NOT\n"))
	if err != nil {
		t.Fatal(err)
	}
	docs := file.Instructions[1].Heredocs
	if len(docs) != 2 || docs[0].Text() != "first $X\n" || !docs[0].Expand || docs[1].Text() != "second\n" || docs[1].Expand || docs[1].Content != "\tsecond\n" {
		t.Fatalf("got %+v", docs)
	}
	if run := file.Instructions[2]; run.First != 7 || run.Last != 9 || run.ContinuationEnd != 7 {
		t.Errorf("RUN stands on %d-%d", run.First, run.Last)
	}
	if len(file.Instructions[3].Heredocs)+len(file.Instructions[4].Heredocs) != 0 {
		t.Error("heredocs where there are none")
	}
}

func TestParseErrors(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		line           int
	}{
		{"nothing", "", "file with no instructions", 0},
		{"comments only", "# a\n\n# b\n", "file with no instructions", 3},
		{"heredoc", "FROM a\nRUN <<EOF\nx\n", "unterminated heredoc", 2},
		{"env", "FROM a\nENV x\n", "ENV must have two arguments", 2},
		{"env pairs", "FROM a\n\nENV x=1 y\n", `Syntax error - can't find = in "y". Must be of the form: name=value`, 3},
		{"label", "FROM a\nLABEL x\n", "LABEL must have two arguments", 2},
		{"json", "FROM a\nRUN [\"a\", 1]\n", "when using JSON array syntax, arrays must be comprised of strings only", 2},
		{"escape", "# escape=x\nFROM a\n", "invalid escape token 'x' does not match ` or \\", 1},
		{"directive", "# escape=`\n# ESCAPE=`\nFROM a\n", "only one escape parser directive can be used", 2},
		{"line", "FROM a\nRUN " + strings.Repeat("x", MaxLine), "dockerfile line greater than max allowed size of 65535", 2},
	} {
		_, err := Parse([]byte(tc.in))
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
			continue
		}
		places := Places(err)
		if len(places) != 1 || places[0][0].Start.Line != tc.line {
			t.Errorf("%s: places %v, want line %d", tc.name, places, tc.line)
		}
	}
}

func TestParseLimits(t *testing.T) {
	for name, in := range map[string][]byte{
		"size":         bytes.Repeat([]byte("# 0123456789\n"), MaxBytes/13+1),
		"instructions": append([]byte("FROM a\n"), bytes.Repeat([]byte("FROM b\n"), 100_000)...),
		"logical line": append([]byte("FROM a\nRUN x\\\n"), bytes.Repeat([]byte(strings.Repeat("y", 60_000)+"\\\n"), 30)...),
		"triggers":     []byte("FROM a\n" + strings.Repeat("ONBUILD ", 8000) + "RUN x"),
		"heredocs":     []byte("FROM a\nCOPY " + strings.Repeat("<<A ", maxHeredocs+1) + " /\n" + strings.Repeat("A\n", maxHeredocs+1)),
	} {
		_, err := Parse(in)
		if (err == nil) != (name == "triggers") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse([]byte("FROM a\nRUN " + strings.Repeat("x", MaxLine-4))); err != nil {
		t.Errorf("the longest line: %v", err)
	}
}

func TestFlags(t *testing.T) {
	for _, tc := range []struct {
		in    string
		flags []string
		rest  string
	}{
		{"--a --b=c rest --d", []string{"--a", "--b=c"}, "rest --d"},
		{`--a="x y" z`, []string{"--a=x y"}, "z"},
		{`--a=x\ y z`, []string{"--a=x y"}, "z"},
		{"--a -- --b", []string{"--a"}, " --b"},
		{"--", nil, ""},
		{"-x", nil, "-x"},
		{"--a=é b", []string{"--a=é"}, "b"},
	} {
		flags, rest := cutFlags(tc.in, '\\')
		if !slices.Equal(flags, tc.flags) || rest != tc.rest && strings.TrimSpace(rest) != strings.TrimSpace(tc.rest) {
			t.Errorf("cutFlags(%q) = %q, %q", tc.in, flags, rest)
		}
	}
}

func TestDetectSyntax(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		line     int
	}{
		{"# syntax=docker/dockerfile:1 --opt\nFROM a", "docker/dockerfile:1 --opt", 1},
		{"#!/bin/x\n#syntax = a/b\r\nFROM a", "a/b", 2},
		{"# escape=`\n# SYNTAX=a/b\nFROM a", "a/b", 2},
		{"// syntax=a/b\n{}", "a/b", 1},
		{`{"syntax": "a/b", "x": [1]}`, "a/b", 1},
		{"\xEF\xBB\xBF# syntax=a/b", "a/b", 1},
		{"# comment\n# syntax=a/b", "", 0},
		{"\n# syntax=a/b", "", 0},
		{`{"syntax": 1}`, "", 0},
		{"FROM a", "", 0},
	} {
		got, ok := DetectSyntax([]byte(tc.in))
		if ok != (tc.want != "") || (ok && (got.Value != tc.want || got.Line != tc.line)) {
			t.Errorf("DetectSyntax(%q) = %+v, %v", tc.in, got, ok)
		}
	}
}

func TestPlaces(t *testing.T) {
	inner := At(errors.New("x"), Lines(3, 4))
	outer := At(inner, Lines(1, 1))
	if places := Places(outer); len(places) != 2 || places[0][0].Start.Line != 3 {
		t.Errorf("places %v", places)
	}
	if places := Places(Instead(outer, Lines(9, 9))); len(places) != 1 || places[0][0].Start.Line != 9 {
		t.Errorf("places %v", places)
	}
	if first, last := Span(Lines(3, 5)); first != 3 || last != 5 {
		t.Errorf("span %d-%d", first, last)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"FROM a\nRUN x", "# escape=`\nFROM a `\n b", "FROM a\nCOPY <<-'E' /\n\tx\n\tE\n", "ONBUILD ONBUILD RUN x", "HEALTHCHECK --a CMD x",
		"FROM a\nENV a=b c='d e'", "ENV a b", "FROM a\nRUN [\"a\"", "#!/x\n# syntax=y", "{\"syntax\":\"a\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		DetectSyntax(in)
		file, err := Parse(in)
		if err != nil {
			return
		}
		lines := bytes.Count(in, []byte("\n")) + 1
		last := 0
		for _, i := range file.Instructions {
			if i.First <= last || i.Last < i.First || i.Last > lines {
				t.Fatalf("instruction on lines %d-%d of %d, after %d", i.First, i.Last, lines, last)
			}
			last = i.Last
		}
	})
}
