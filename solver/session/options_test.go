package session

import (
	"testing"
	"time"
)

func TestReadOptions(t *testing.T) {
	md := map[string][]string{
		headerID: {"id"}, headerSharedKey: {"key"}, headerMethod: {"/a/B", "/c/D"}, headerHealth: {"2500"},
	}
	opt := ReadOptions(func(name string) []string { return md[name] })
	if opt.ID != "id" || opt.SharedKey != "key" || len(opt.Methods) != 2 || opt.HealthTimeout != 2500*time.Millisecond {
		t.Errorf("options %+v", opt)
	}
	md[headerHealth] = []string{"3"}
	if opt := ReadOptions(func(name string) []string { return md[name] }); opt.HealthTimeout != 0 {
		t.Errorf("a timeout of 3 ms is taken: %v", opt.HealthTimeout)
	}
}
