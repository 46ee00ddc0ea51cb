package client

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/fakedaemon"
)

func TestNodes(t *testing.T) {
	for list, want := range map[string][]string{
		"unix:///a":                     {"unix:///a"},
		"unix:///a,b":                   {"unix:///a,b"},
		"tcp://a:1,tcp://b:2,unix:///c": {"tcp://a:1", "tcp://b:2", "unix:///c"},
		"nothing":                       {"nothing"},
	} {
		if got := Nodes(list); !slices.Equal(got, want) {
			t.Errorf("%q gives %q", list, got)
		}
	}
}

// TestRank: keys are spread, the order of the list is nothing, and a node that
// goes takes only its own keys along.
func TestRank(t *testing.T) {
	nodes := []string{"tcp://a:1", "tcp://b:1", "tcp://c:1", "tcp://d:1"}
	other := slices.Clone(nodes)
	slices.Reverse(other)
	count := map[string]int{}
	for i := range 1000 {
		key := fmt.Sprint("/src/", i)
		best := rank(nodes, key)[0]
		count[best]++
		if got := rank(other, key)[0]; got != best {
			t.Fatalf("%s is on %s or %s", key, best, got)
		}
		if got := rank(nodes[:3], key)[0]; best != nodes[3] && got != best {
			t.Fatalf("%s went from %s to %s", key, best, got)
		}
	}
	for _, n := range nodes {
		if count[n] < 150 {
			t.Errorf("%s has %d of 1000 keys", n, count[n])
		}
	}
}

// TestDialBest: a daemon that is down is left out.
func TestDialBest(t *testing.T) {
	d := fakedaemon.Start(t)
	list := "unix:///nonexistent/1.sock," + d.Addr + ",unix:///nonexistent/2.sock"
	for i := range 4 {
		c, err := Dial(t.Context(), Options{Addr: list, BuildKey: fmt.Sprint("key", i)})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	if _, err := Dial(t.Context(), Options{Addr: list}); err == nil || !strings.Contains(err.Error(), "names 3 daemons") {
		t.Errorf("without a key: %v", err)
	}
	if _, err := Dial(t.Context(), Options{Addr: "unix:///nonexistent/1.sock,unix:///nonexistent/2.sock", BuildKey: "k"}); err == nil ||
		!strings.Contains(err.Error(), "1.sock") || !strings.Contains(err.Error(), "2.sock") {
		t.Errorf("without daemons: %v", err)
	}
}
