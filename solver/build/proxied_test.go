package build

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
	spb "github.com/kilnbuild/kiln/solver/pb/sourcepolicy"
)

func TestGate(t *testing.T) {
	j, _ := policed(t, nil, rule(spb.PolicyAction_DENY, "https://bad.example/*", ""))
	if g, err := j.gate(nil); err != nil || g != nil {
		t.Fatalf("without a proxy: %v, %v", g, err)
	}
	j.request.ProxyNetwork = true
	// A frontend's policies count for the steps of its graph too.
	g, err := j.gate([]*spb.Policy{
		rule(spb.PolicyAction_CONVERT, "https://old.example/a", "https://new.example/a"),
		{Rules: []*spb.Rule{{
			Action: spb.PolicyAction_CONVERT, Selector: &spb.Selector{Identifier: "https://pinned.example/a"},
			Updates: &spb.Update{Attrs: map[string]string{"http.checksum": digest.FromString("a").String()}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, want string }{
		{"https://good.example/a", "https://good.example/a"},
		{"https://old.example/a", "https://new.example/a"},
		{"https://bad.example/a", ""},
		{"https://pinned.example/a", ""},
	} {
		got, err := g.Admit(t.Context(), "GET", tt.url)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: got %q, %v", tt.url, got, err)
		}
	}
	none, _ := policed(t, nil, &spb.Policy{})
	none.request.ProxyNetwork, none.policies = true, nil
	if g, err := none.gate(nil); err != nil || g != nil {
		t.Errorf("without policies: %v, %v", g, err)
	}
}

func TestTraffic(t *testing.T) {
	j, _ := policed(t, nil, &spb.Policy{})
	v := digest.FromString("v")
	for _, url := range []string{"http://a/", "http://b/"} {
		j.emit(solver.Event{Traffic: &solver.TrafficEvent{Vertex: v, Traffic: solver.Traffic{Requests: []solver.Request{{URL: url}}}}})
	}
	if got := j.traffic[v]; len(j.traffic) != 1 || len(got.Requests) != 2 || got.Requests[1].URL != "http://b/" {
		t.Errorf("got %+v", j.traffic)
	}
}
