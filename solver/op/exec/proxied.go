package exec

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
)

// behind puts the op's process behind the recording proxy, if the vertex says
// so. What it asks for is shown at the end of the log and told to the builds.
func (o *Op) behind(env solver.Env, log io.Writer) *executor.Proxy {
	if !o.proxy {
		return nil
	}
	return &executor.Proxy{Gate: o.gate, Record: func(t solver.Traffic) {
		showRequests(log, t.Requests)
		env.Emit(solver.Event{Traffic: &solver.TrafficEvent{Traffic: t}})
	}}
}

// shownRequests bounds how many requests are listed in the log.
const shownRequests = 1000

// showRequests lists requests in the form that tools look for.
func showRequests(w io.Writer, list []solver.Request) {
	if len(list) == 0 {
		return
	}
	var b strings.Builder
	b.WriteString("proxy network requests:\n")
	for i, q := range list {
		if i == shownRequests {
			fmt.Fprintf(&b, "- and %d more\n", len(list)-i)
			break
		}
		fmt.Fprintf(&b, "- %s %s -> %d\n", q.Method, printable(q.URL), q.Status)
	}
	_, _ = io.WriteString(w, b.String())
}

// printable is a URL that cannot change what a terminal shows. The proxy only
// lets URLs through that are that already; this is for those that it would not
// have understood.
func printable(u string) string {
	if strings.ContainsFunc(u, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return url.PathEscape(u)
	}
	return u
}
