package display

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kilnbuild/kiln/solver/progress"
)

// terminal is a screen that understands what the tty view writes: it fails on
// everything else. Lines that scroll off are kept above the screen.
type terminal struct {
	t             *testing.T
	width, height int
	lines         []string
	row, col, top int
	hidden        bool
	writes        int
	bytes         int
}

func (s *terminal) Write(p []byte) (int, error) {
	s.writes++
	s.bytes += len(p)
	for i := 0; i < len(p); {
		switch {
		case p[i] == 0x1b:
			n := escapeLen(string(p[i:]))
			s.escape(string(p[i : i+n]))
			i += n
		case p[i] == '\r':
			s.col = 0
			i++
		case p[i] == '\n':
			s.row, s.col = s.row+1, 0
			s.top = max(s.top, s.row-s.height+1)
			i++
		default:
			s.put(p[i])
			i++
		}
	}
	if s.hidden {
		s.t.Error("the cursor is hidden between writes")
	}
	return len(p), nil
}

func (s *terminal) put(c byte) {
	if s.col >= s.width {
		s.t.Errorf("row %d is wider than the screen", s.row)
	}
	s.fill()
	l := s.lines[s.row]
	l += strings.Repeat(" ", max(0, s.col+1-len(l)))
	s.lines[s.row] = l[:s.col] + string(c) + l[s.col+1:]
	s.col++
}

func (s *terminal) fill() {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, "")
	}
}

func (s *terminal) escape(e string) {
	s.fill()
	n := 0
	switch {
	case e == hideCursor:
		s.hidden = true
	case e == showCursor:
		s.hidden = false
	case e == clearRight:
		s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
	case e == clearBelow:
		s.lines[s.row] = s.lines[s.row][:min(s.col, len(s.lines[s.row]))]
		s.lines = s.lines[:s.row+1]
	case strings.HasSuffix(e, "A"):
		fmt.Sscanf(e, "\x1b[%dA", &n)
		s.row = max(s.top, s.row-n)
	case strings.HasSuffix(e, "m"):
	default:
		s.t.Errorf("unknown escape %q", e)
	}
}

// reflow narrows the window the way terminals do.
func (s *terminal) reflow(width int) {
	var lines []string
	for _, l := range s.lines[:s.row] {
		for len(l) > width {
			lines, l = append(lines, l[:width]), l[width:]
		}
		lines = append(lines, l)
	}
	s.width, s.lines, s.row = width, lines, len(lines)
}

func (s *terminal) String() string {
	var out []string
	for _, l := range s.lines {
		out = append(out, strings.TrimRight(l, " "))
	}
	return strings.TrimRight(strings.Join(out, "\n"), "\n")
}

// newTerminal returns a view on a virtual screen.
func newTerminal(t *testing.T, width, height int) (*terminal, *script) {
	s := &terminal{t: t, width: width, height: height}
	clock := func() time.Time { return scriptBegin }
	set := settingsFrom(func(string) string { return "" })
	return s, newScript(t, newTTY(s, func() (int, int) { return s.width, s.height }, set, clock))
}

func expect(t *testing.T, s *terminal, want string) {
	t.Helper()
	if d := cmp.Diff(strings.Trim(want, "\n"), s.String()); d != "" {
		t.Errorf("screen differs (-want +got):\n%s", d)
	}
}

func TestTTY(t *testing.T) {
	s, sc := newTerminal(t, 60, 12)
	sc.run(`
		0 start def [internal] load build definition from Dockerfile
		0 status def 0 0 0 open transferring dockerfile:
		0.1 refresh
		0.2 status def 120 0 0 done transferring dockerfile:
		0.2 end def
		0.2 cached from [1/2] FROM docker.io/library/alpine:3.20
		0.3 start run [2/2] RUN make
		0.4 log run "one\n\x1b[31mtwo\x1b[0m\nthr\ree"
		1.3 refresh`)
	expect(t, s, `
[+] Building 1.3s (2/3)
 => [internal] load build definition from Dockerfile   0.2s
 => => transferring dockerfile: 120B                   0.2s
 => CACHED [1/2] FROM docker.io/library/alpine:3.20    0.0s
 => [2/2] RUN make                                     1.0s
 => => # one
 => => # two
 => => # ee`)
	sc.run(`
		2 fail run exit code: 1
		2 refresh
		2.5 close`)
	expect(t, s, `
[+] Building 2.5s (3/3) FINISHED
 => [internal] load build definition from Dockerfile   0.2s
 => => transferring dockerfile: 120B                   0.2s
 => CACHED [1/2] FROM docker.io/library/alpine:3.20    0.0s
 => ERROR [2/2] RUN make                               1.7s
------
 > [2/2] RUN make:
0.100 one
0.100 two
0.100 ee
------`)
}

// A frame never grows beyond the screen while the build runs; the last one
// shows everything.
func TestTTYSmall(t *testing.T) {
	s, sc := newTerminal(t, 40, 6)
	for i := range 10 {
		sc.run(fmt.Sprintf("%d start s%d step %d\n%d refresh", i, i, i, i))
		if i != 3 && i != 8 {
			sc.run(fmt.Sprintf("%d end s%d\n%d refresh", i+1, i, i+1))
		}
	}
	sc.run(`20 log s8 "out\n"
		20 refresh`)
	expect(t, s, `
[+] Building 20.0s (8/10)
 => step 3                        17.0s
 => step 7                         1.0s
 => step 8                        12.0s
 => step 9                         1.0s`)
	sc.run("21 end s3\n21 end s8\n21 close")
	if got := strings.Count(s.String(), "=> step"); got != 10 {
		t.Errorf("last frame shows %d steps, want 10:\n%s", got, s)
	}
}

func TestTTYResize(t *testing.T) {
	s, sc := newTerminal(t, 60, 20)
	sc.run("0 start a the first step\n1 start b the second step\n2 refresh")
	s.reflow(30)
	sc.run("3 refresh")
	expect(t, s, `
[+] Building 3.0s (0/2)
 => the first step       3.0s
 => the second step      2.0s`)
}

// Nothing changed means nothing written, and little changed little written.
func TestTTYQuiet(t *testing.T) {
	s, sc := newTerminal(t, 60, 20)
	for i := range 10 {
		sc.run(fmt.Sprintf("0 start s%d step %d\n1 end s%d", i, i, i))
	}
	sc.run("2 refresh")
	s.writes, s.bytes = 0, 0
	sc.run("2 refresh")
	if s.writes != 0 {
		t.Errorf("%d writes for an equal frame", s.writes)
	}
	sc.run("3 refresh")
	if s.writes != 1 || s.bytes > 120 {
		t.Errorf("%d writes of %d bytes for a changed header", s.writes, s.bytes)
	}
}

func TestSettings(t *testing.T) {
	env := map[string]string{"BUILDKIT_COLORS": `run=green:error=1,2,3:bad:cancel=nocolour`, "BUILDKIT_TTY_LOG_LINES": "3"}
	s := settingsFrom(func(k string) string { return env[k] })
	if s.logLines != 3 || s.run != colours["green"] || s.cancel != colours["yellow"] || s.fail == colours["red"] {
		t.Errorf("settings = %+v", s)
	}
	env["NO_COLOR"] = "1"
	if s = settingsFrom(func(k string) string { return env[k] }); s.run != nil || paint("x", s.fail) != "x" {
		t.Errorf("NO_COLOR is ignored: %+v", s)
	}
}

func TestPlainText(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb": "a b", "10%\r20%\r": "20%", "\x1b]0;title\x07x": "x", "\x1b[2Jx\x1b": "x", "\x1b[": "", "bad\xff": "bad", "é\u0301": "é\u0301",
	} {
		if got := plainText(in); got != want {
			t.Errorf("plainText(%q) = %q, want %q", in, got, want)
		}
	}
	if columns("日本é\u0301") != 5 || cut("日本", 3) != "日" {
		t.Errorf("columns = %d, cut = %q", columns("日本é\u0301"), cut("日本", 3))
	}
}

func TestModes(t *testing.T) {
	var out, trace bytes.Buffer
	noEnv := func(string) string { return "" }
	if _, err := New(Options{Out: &out, Mode: TTY, Getenv: noEnv}); err == nil {
		t.Error("tty without a terminal: no error")
	}
	if _, err := New(Options{Out: &out, Mode: "fancy", Getenv: noEnv}); err == nil {
		t.Error("unknown mode: no error")
	}
	env := func(k string) string { return map[string]string{"BUILDKIT_PROGRESS": "rawjson"}[k] }
	d, err := New(Options{Out: &out, Mode: Auto, Trace: &trace, Getenv: env})
	if err != nil {
		t.Fatal(err)
	}
	sc := newScript(t, addView{d})
	sc.run(`
		0 group a g weak in a group
		0 start a one
		0.5 status a 5 9 0 done sending
		1 log a "x"
		1 warn a careful`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	const want = `{"vertexes":[{"digest":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","name":"one","started":"2026-01-02T03:04:05Z","progressGroup":{"id":"g","name":"in a group","weak":true}}]}
{"statuses":[{"id":"sending","vertex":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","total":9,"current":5,"timestamp":"2026-01-02T03:04:05.5Z","started":"2026-01-02T03:04:05Z","completed":"2026-01-02T03:04:05.5Z"}]}
{"logs":[{"vertex":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","stream":1,"data":"eA==","timestamp":"2026-01-02T03:04:06Z"}]}
{"warnings":[{"vertex":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","short":"Y2FyZWZ1bA=="}]}
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("rawjson differs (-want +got):\n%s", d)
	}
	if trace.String() != out.String() {
		t.Errorf("trace differs from rawjson:\n%s", trace.String())
	}
}

// addView feeds a Display.
type addView struct{ d *Display }

func (v addView) update(b *progress.Batch) error { v.d.Add(b); return nil }

func (addView) refresh(time.Time) error { return nil }

func (addView) close(time.Time) error { return nil }

// An output that fails is reported and does not stop the build.
func TestBrokenOutput(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	d, err := New(Options{Out: w, Mode: Plain})
	if err != nil {
		t.Fatal(err)
	}
	newScript(t, addView{d}).run("0 start a x\n1 end a")
	if d.Close() == nil {
		t.Error("no error from a closed pipe")
	}
}
