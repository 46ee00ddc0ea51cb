package build

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

const twoStages = `ARG BASE=img
FROM $BASE AS one
ENV A=b
RUN make --this
FROM unused AS never
RUN nothing
FROM one
COPY --from=one /a /b
SHELL ["/bin/bash", "-c"]
ARG WHO
RUN second
CMD ["x"]
`

// events make batches; a step is its name and what happened to it.
type events struct {
	out strings.Builder
	*printer
}

func newEvents(dockerfile string) *events {
	e := &events{}
	e.printer = newPrinter(&e.out, readPlan([]byte(dockerfile), ""), true, nil)
	return e
}

func (e *events) see(name, what string) {
	now := time.Now()
	v := &solver.VertexEvent{Digest: digest.FromString(name), Name: name, Started: &now}
	switch what {
	case "done":
		v.Completed = &now
	case "cached":
		v.Completed, v.Cached = &now, true
	case "started":
	default:
		v.Completed, v.Error = &now, what
	}
	_ = e.show(&progress.Batch{Vertices: []*solver.VertexEvent{v}})
}

func (e *events) log(name string, stream int, text string) {
	_ = e.show(&progress.Batch{Logs: []*solver.LogEvent{{Vertex: digest.FromString(name), Stream: stream, Data: []byte(text)}}})
}

// said is the text without ids, which say nothing.
func (e *events) said() string { return ids.ReplaceAllString(e.out.String(), "") }

// ids are those of containers and images.
var ids = regexp.MustCompile(`\b[0-9a-f]{12}\b`)

func (e *events) expect(t *testing.T, want string) {
	t.Helper()
	if got := e.said(); got != want {
		t.Errorf("said\n%s\nwant\n%s", got, want)
	}
}

// TestPrinterOrder has steps run side by side and tells them in order.
func TestPrinterOrder(t *testing.T) {
	e := newEvents(twoStages)
	e.see("[internal] load build definition", "done")
	e.see("[stage-2 2/2] RUN second", "started")
	e.log("[stage-2 2/2] RUN second", solver.Stdout, "early\n")
	e.expect(t, "")
	e.see("[one 1/2] FROM img", "done")
	e.see("[one 2/2] RUN make --this", "started")
	e.log("[one 2/2] RUN make --this", solver.Stderr, "oops\n")
	first := "Step 1/9 : FROM $BASE AS one\n ---> \nStep 2/9 : ENV A=b\n ---> \nStep 3/9 : RUN make --this\n ---> Running in \n\x1b[91moops\n\x1b[0m"
	e.expect(t, first)
	e.see("[one 2/2] RUN make --this", "done")
	e.see("[stage-2 1/2] COPY --from=one /a /b", "cached")
	e.see("[stage-2 2/2] RUN second", "done")
	if err := e.end(digest.FromString("image"), false); err != nil {
		t.Fatal(err)
	}
	e.expect(t, first+" ---> Removed intermediate container \n ---> \n"+
		"Step 4/9 : FROM one\n ---> \nStep 5/9 : COPY --from=one /a /b\n ---> Using cache\n ---> \n"+
		"Step 6/9 : SHELL [\"/bin/bash\", \"-c\"]\n ---> \nStep 7/9 : ARG WHO\n ---> \n"+
		"Step 8/9 : RUN second\n ---> Running in \nearly\n ---> Removed intermediate container \n ---> \nStep 9/9 : CMD [\"x\"]\n ---> \n")
	if !strings.HasSuffix(e.out.String(), " ---> "+short(digest.FromString("image"))+"\n") {
		t.Errorf("the last id is not the image's: %s", e.out.String())
	}
}

func TestPrinterFailure(t *testing.T) {
	e := newEvents("FROM img\nRUN a\nRUN b\nRUN c\n")
	e.see("[1/4] FROM img", "done")
	e.see("[2/4] RUN a", "cached")
	e.see("[3/4] RUN b", "started")
	e.log("[3/4] RUN b", solver.Stdout, "last words\n")
	e.see("[3/4] RUN b", "exit code: 3")
	if err := e.end("", true); err != nil {
		t.Fatal(err)
	}
	e.expect(t, "Step 1/4 : FROM img\n ---> \nStep 2/4 : RUN a\n ---> Using cache\n ---> \nStep 3/4 : RUN b\n ---> Running in \nlast words\n")
	if e.failed == nil || e.failed.command != "/bin/sh -c b" {
		t.Errorf("failed is %+v", e.failed)
	}
}

// TestPrinterTriggers has a base image that adds steps.
func TestPrinterTriggers(t *testing.T) {
	e := newEvents("FROM img\nRUN a\n")
	for _, name := range []string{"[1/4] FROM img", "[2/4] RUN trigger", "[3/4] COPY . /", "[4/4] RUN a"} {
		e.see(name, "cached")
	}
	if err := e.end("", false); err != nil {
		t.Fatal(err)
	}
	e.expect(t, "Step 1/2 : FROM img\n ---> \n# Executing 2 build triggers\n ---> Using cache\n ---> \n ---> Using cache\n ---> \n"+
		"Step 2/2 : RUN a\n ---> Using cache\n ---> \n")
	e = newEvents("FROM img\nRUN a\n")
	e.see("[1/3] FROM img", "done")
	e.see("[2/3] RUN trigger", "started")
	e.log("[2/3] RUN trigger", solver.Stdout, "said\n")
	e.see("[2/3] RUN trigger", "failed")
	if err := e.end("", true); err != nil || e.failed.command != "/bin/sh -c trigger" {
		t.Errorf("%v, %+v", err, e.failed)
	}
	e.expect(t, "Step 1/2 : FROM img\n ---> \n# Executing 1 build trigger\n ---> Running in \nsaid\n")
}

// TestPrinterRootWorkdir has changes to the root, which count but make no step:
// what comes after is still told in its place.
func TestPrinterRootWorkdir(t *testing.T) {
	e := newEvents("FROM img\nWORKDIR /a\nWORKDIR ..\nWORKDIR /./\nRUN make\nRUN test\n")
	e.see("[1/6] FROM img", "done")
	e.see("[2/6] WORKDIR /a", "cached")
	e.see("[3/6] RUN make", "done")
	e.see("[4/6] RUN test", "started")
	e.log("[4/6] RUN test", solver.Stdout, "said\n")
	e.see("[4/6] RUN test", "exit code: 3")
	if err := e.end("", true); err != nil || e.failed == nil || e.failed.command != "/bin/sh -c test" {
		t.Errorf("%v, %+v", err, e.failed)
	}
	e.expect(t, "Step 1/6 : FROM img\n ---> \nStep 2/6 : WORKDIR /a\n ---> Using cache\n ---> \nStep 3/6 : WORKDIR ..\n ---> \n"+
		"Step 4/6 : WORKDIR /./\n ---> \nStep 5/6 : RUN make\n ---> Running in \n ---> Removed intermediate container \n ---> \n"+
		"Step 6/6 : RUN test\n ---> Running in \nsaid\n")
}

// TestPrinterWithoutPlan shows steps as they come.
func TestPrinterWithoutPlan(t *testing.T) {
	e := newEvents("")
	e.see("[linux/amd64 1/2] FROM img", "done")
	e.see("[linux/amd64 2/2] RUN a", "done")
	if err := e.end("", false); err != nil {
		t.Fatal(err)
	}
	e.expect(t, "Step 1/2 : FROM img\n ---> \nStep 2/2 : RUN a\n ---> \n")
}

func TestPrinterBounds(t *testing.T) {
	e := newEvents("FROM img\nRUN a\nRUN b\n")
	e.see("[3/3] RUN b", "started")
	for range 200 {
		e.log("[3/3] RUN b", solver.Stdout, strings.Repeat("x", 32<<10))
	}
	if n := e.places[place{"", 3}].held.Len(); n > maxHeld+100 {
		t.Errorf("%d bytes are held", n)
	}
	broken := newPrinter(failing{}, readPlan([]byte("FROM img\nRUN a\n"), ""), true, nil)
	now := time.Now()
	v := &solver.VertexEvent{Digest: "x", Name: "[1/2] FROM img", Started: &now, Completed: &now}
	if err := broken.show(&progress.Batch{Vertices: []*solver.VertexEvent{v}}); err == nil {
		t.Error("a client that has gone is not noticed")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestPlan(t *testing.T) {
	p := readPlan([]byte(twoStages), "one")
	if len(p.steps) != 3 {
		t.Errorf("a target has %d steps", len(p.steps))
	}
	if got := fmt.Sprint(p.unused([]string{"Z", "WHO", "BASE", "http_proxy", "BUILDKIT_INLINE_CACHE", "B"})); got != "[B Z]" {
		t.Errorf("unused are %s", got)
	}
	last := readPlan([]byte(twoStages), "").steps
	if s := last[7]; s.text != "RUN second" || s.command != "/bin/bash -c second" || s.stage != "stage-2" || s.number != 2 || s.total != 2 {
		t.Errorf("step is %+v", s)
	}
	if p := readPlan([]byte("not a Dockerfile"), ""); len(p.steps) != 0 || p.unused([]string{"A"}) != nil {
		t.Errorf("nonsense has the plan %+v", p)
	}
}

// FuzzPlan feeds Dockerfiles and names of steps.
func FuzzPlan(f *testing.F) {
	f.Add(twoStages, "[stage-2 2/2] RUN second")
	f.Fuzz(func(t *testing.T, text, name string) {
		e := newEvents(text)
		e.see(name, "started")
		e.log(name, solver.Stdout, text)
		e.see(name, "done")
		if err := e.end("", len(text)%2 == 0); err != nil {
			t.Fatal(err)
		}
	})
}
