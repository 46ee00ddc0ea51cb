package build

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/progress"
)

// TestPrinterPulls fetches a base image, which is told as a pull is.
func TestPrinterPulls(t *testing.T) {
	var out strings.Builder
	e := &events{}
	e.printer = newPrinter(&e.out, readPlan([]byte("FROM r.test/a/img\nRUN x\n"), ""), true, func(m route.Message) {
		data, err := json.Marshal(m)
		if err != nil {
			t.Error(err)
		}
		out.Write(append(data, '\n'))
	})
	from, layer := "[1/2] FROM r.test/a/img:latest@"+digest.FromString("img").String(), digest.FromString("layer")
	now := time.Now()
	activity := func(id, name string, current int64, done bool) {
		now = now.Add(time.Second)
		ev := &solver.StatusEvent{Vertex: digest.FromString(from), ID: id, Name: name, Current: current, Total: 9, Timestamp: now, Started: &now}
		if done {
			ev.Completed = &now
		}
		_ = e.show(&progress.Batch{Statuses: []*solver.StatusEvent{ev}})
	}
	e.see(from, "done")
	activity("resolve r.test/a/img", "", 0, false)
	activity(layer.String(), "downloading", 0, false)
	activity(layer.String(), "downloading", 4, false)
	activity(layer.String(), "downloading", 9, true)
	activity("extracting "+layer.String(), "", 0, false)
	activity("extracting "+layer.String(), "", 0, false)
	activity("extracting "+layer.String(), "", 0, true)
	e.see("[2/2] RUN x", "started")
	id := short(layer)
	want := `{"status":"Pulling from a/img","id":"latest"}
{"status":"Pulling fs layer","id":"` + id + `","progressDetail":{}}
{"status":"Downloading","id":"` + id + `","progressDetail":{"current":4,"total":9}}
{"status":"Download complete","id":"` + id + `","progressDetail":{}}
{"status":"Extracting","id":"` + id + `","progressDetail":{}}
{"status":"Pull complete","id":"` + id + `","progressDetail":{}}
{"status":"Digest: ` + digest.FromString("img").String() + `"}
{"status":"Status: Downloaded newer image for r.test/a/img:latest"}
`
	if out.String() != want {
		t.Errorf("told\n%swant\n%s", out.String(), want)
	}
	if !strings.HasPrefix(e.said(), "Step 1/2 : FROM r.test/a/img\n ---> \nStep 2/2 : RUN x\n") {
		t.Errorf("said %s", e.said())
	}
}

// TestPrinterPullsNothing has nothing to tell of what is here, or is no layer.
func TestPrinterPullsNothing(t *testing.T) {
	p := newPulls(func(m route.Message) { t.Errorf("told %+v", m) })
	vertex := digest.FromString("v")
	for _, id := range []string{"extracting nothing", "sha256:zz", "resolve x", "transferring context:"} {
		p.show("FROM a", &solver.StatusEvent{Vertex: vertex, ID: id, Name: "downloading"})
	}
	p.end(vertex, "FROM a")
	newPulls(nil).show("FROM a", &solver.StatusEvent{Vertex: vertex, ID: digest.FromString("l").String(), Name: "downloading"})
	for _, name := range []string{"", "FROM", "RUN a b", "FROM $x"} {
		if ref := basedOn(name); ref != nil {
			t.Errorf("%q is based on %s", name, ref)
		}
	}
}
