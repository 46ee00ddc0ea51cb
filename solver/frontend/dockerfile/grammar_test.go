package dockerfile

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/frontend"
)

// grammar writes Dockerfiles that are nearly right, with choices taken from a
// byte string: a fuzzer that flips a byte changes one decision.
type grammar struct {
	choices []byte
	text    strings.Builder
	// names are stages that exist, variables those that are declared.
	names, variables []string
}

// pick takes a choice below n; when there are no more, the first alternative.
func (g *grammar) pick(n int) int {
	if len(g.choices) == 0 || n <= 1 {
		return 0
	}
	c := int(g.choices[0]) % n
	g.choices = g.choices[1:]
	return c
}

func (g *grammar) one(list ...string) string { return list[g.pick(len(list))] }

// word is a word as arguments have them: plain, quoted, expanded, broken.
func (g *grammar) word() string {
	plain := g.one("a", "/b", "c*", ".", "..", "/", "日本", `"q u"`, `'s$A'`, `\ `, "$", "${", "[", "-", "=")
	if len(g.variables) == 0 {
		return plain
	}
	v := g.variables[g.pick(len(g.variables))]
	return g.one(plain, "$"+v, "${"+v+"}", "${"+v+":-x}", "${"+v+":+y}", "${"+v+"%x*}", "${"+v+"//a/b}", "${"+v+":?no}")
}

func (g *grammar) stage() string {
	if len(g.names) == 0 {
		return g.one("scratch", "img", "0", g.word())
	}
	return g.one("scratch", "img", g.names[g.pick(len(g.names))], fmt.Sprint(g.pick(4)), g.word())
}

func (g *grammar) flags(list ...string) string {
	var out string
	for range g.pick(3) {
		out += g.one(list...) + " "
	}
	return out
}

// line writes one instruction.
func (g *grammar) line() {
	prefix := g.one("", "", "", "ONBUILD ", "onbuild ", " ")
	switch g.pick(16) {
	case 0:
		name := g.one("one", "two", "three", g.word())
		fmt.Fprintf(&g.text, "%sFROM %s%s AS %s", prefix, g.flags("--platform=$BUILDPLATFORM", "--platform=linux/arm64", "--platform="+g.word()), g.stage(), name)
		g.names = append(g.names, name)
	case 1:
		name := g.one("A", "B", "TARGETARCH", g.word())
		fmt.Fprintf(&g.text, "%sARG %s%s", prefix, name, g.one("", "=", "="+g.word(), " X=1"))
		g.variables = append(g.variables, name)
	case 2:
		fmt.Fprintf(&g.text, "%sENV %s", prefix, g.one("A=1 B="+g.word(), "A "+g.word(), "A", "=1"))
	case 3:
		fmt.Fprintf(&g.text, "%sRUN %s%s", prefix, g.flags("--mount=type=cache,target=/c", "--mount=type=bind,from="+g.stage()+",target=/x",
			"--mount=type=secret,id=s,env=E", "--network="+g.word(), "--mount="+g.word(), "--security=insecure", "--device=a"),
			g.one("x", `["a", "b"]`, `["a"`, "<<E\nx\nE", "<<-'E' <<F\n\tx\nE\nF", "<<E"))
	case 4, 5:
		fmt.Fprintf(&g.text, "%s%s %s%s %s", prefix, g.one("COPY", "ADD"), g.flags("--from="+g.stage(), "--chmod="+g.one("755", "u+x", g.word()),
			"--chown=1:"+g.word(), "--link", "--parents", "--exclude="+g.word(), "--checksum=sha256:00", "--keep-git-dir=x"),
			g.one(g.word(), "<<E", `["a",`, "https://h/r.git#m:d", "http://h/f", "git@h:r"), g.word())
		if g.pick(3) == 1 {
			g.text.WriteString("\nbody\nE")
		}
	case 6:
		fmt.Fprintf(&g.text, "%sHEALTHCHECK %s", prefix, g.one("NONE", "CMD x", "--interval="+g.word()+" CMD x", "--retries=-1 NONE"))
	case 7:
		fmt.Fprintf(&g.text, "%s%s %s", prefix, g.one("WORKDIR", "USER", "STOPSIGNAL", "VOLUME", "EXPOSE", "LABEL", "MAINTAINER"), g.word())
	case 8:
		fmt.Fprintf(&g.text, "%s%s %s", prefix, g.one("CMD", "ENTRYPOINT", "SHELL"), g.one("x", `["a"]`, `[1]`, "", `[]`))
	case 9:
		g.text.WriteString(g.one("# syntax=x", "# escape=`", "# check=error=true", "# comment", "#", "# check=skip=all"))
	case 10:
		g.text.WriteString(g.one("", "\t", "\\", "x\\\n", "\r", "\x00", "NOSUCH a", "FRM a", "COPY"))
	default:
		fmt.Fprintf(&g.text, "%s%s %s %s", prefix, g.one("RUN", "COPY", "ENV", "LABEL", "ARG"), g.word(), g.one("\\\n"+g.word(), g.word(), ""))
	}
	g.text.WriteByte('\n')
}

// FuzzGrammar builds Dockerfiles that a grammar made of the fuzzer's bytes. No
// one may end the frontend, and an error that blames an instruction says where
// it is.
func FuzzGrammar(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 2, 3, 4, 5, 6})
	f.Add([]byte("some other choices that lead elsewhere"))
	f.Add([]byte{9, 3, 0, 3, 200, 100, 50, 4, 0, 0, 1, 2, 3, 5, 1, 1, 1, 7, 8, 9})
	f.Fuzz(func(t *testing.T, choices []byte) {
		g := &grammar{choices: choices}
		if g.pick(8) != 7 {
			g.text.WriteString("FROM img\n")
		}
		for range 1 + g.pick(12) {
			g.line()
		}
		text := g.text.String()
		for _, opts := range [][]string{{"build-arg:A", "1"}, {"platform", "linux/amd64,linux/arm64"}, {"requestid", "frontend.outline"}} {
			b := withDockerfile(t, text)
			b.forwarded = func(frontend.SolveRequest) (*frontend.Result, error) { return &frontend.Result{}, nil }
			_, err := b.solve(opts...)
			var located *solver.SourceError
			if errors.As(err, &located) {
				checkPlaces(t, text, located)
			}
		}
	})
}

// checkPlaces makes sure that an error points into the text.
func checkPlaces(t *testing.T, text string, err *solver.SourceError) {
	t.Helper()
	lines := strings.Count(text, "\n") + 1
	for _, r := range err.Ranges {
		if r.Start.Line < 1 || r.End.Line > lines+1 || r.End.Line < r.Start.Line {
			t.Errorf("%v points at %+v of %d lines:\n%s", err, r, lines, text)
		}
	}
}

// TestTooMuch makes sure that Dockerfiles that are out of all proportion end in
// an answer, soon, and within bounded memory.
func TestTooMuch(t *testing.T) {
	for name, text := range map[string]string{
		"10 MB in lines":         "FROM img\n" + strings.Repeat("RUN echo "+strings.Repeat("x", 90)+"\n", 100_000),
		"10 MB in one line":      "FROM img\nRUN " + strings.Repeat("x", 10<<20) + "\n",
		"10 MB of continuations": "FROM img\nRUN x" + strings.Repeat(" \\\n", 3<<20) + "\n",
		"10 MB of comments":      "FROM img\n" + strings.Repeat("#\n", 5<<20) + "\n",
		"100,000 stages":         strings.Repeat("FROM img\n", 100_000),
		"100,000 stages in turn": "FROM img AS s0\n" + chainOfStages(100_000),
		"recursive argument":     "FROM img\nARG B=xxxxxxxx\n" + strings.Repeat("ARG B=$B$B\n", 60) + "RUN x\n",
		"doubling variable":      "FROM img\nENV A=xxxxxxxx\n" + strings.Repeat("ENV A=$A$A\n", 60) + "RUN x\n",
		"deep braces":            "FROM img\nENV A=" + strings.Repeat("${A:-", 100_000) + "\n",
		"heredocs":               "FROM img\nRUN " + strings.Repeat("<<E ", 100_000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			b := withDockerfile(t, text)
			_, err := b.solve()
			runtime.ReadMemStats(&after)
			t.Logf("%s, %d MB: %.200v", time.Since(start).Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, err)
			if err == nil {
				t.Error("it was built")
			}
			const most = 2 << 30
			if after.TotalAlloc-before.TotalAlloc > most {
				t.Errorf("%d bytes were allocated", after.TotalAlloc-before.TotalAlloc)
			}
		})
	}
}

func chainOfStages(n int) string {
	var b strings.Builder
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "FROM s%d AS s%d\n", i-1, i)
	}
	return b.String()
}
