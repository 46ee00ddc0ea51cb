package main

import (
	"testing"

	"github.com/kilnbuild/kiln/examples/internal/exampletest"
)

func TestDefine(t *testing.T) {
	for _, c := range []struct {
		args              []string
		sources, commands int
	}{
		{[]string{}, 4, 3},
		{[]string{"-only", "runc", "-mirror", "http://localhost:1/"}, 2, 1},
	} {
		if sources, commands := exampletest.Count(exampletest.Check(t, define, c.args...)); sources != c.sources || commands != c.commands {
			t.Errorf("%q: %d sources and %d commands, want %d and %d", c.args, sources, commands, c.sources, c.commands)
		}
	}
	if _, err := define([]string{"-only", "nothing"}); err == nil {
		t.Error("an unknown component: no error")
	}
}
