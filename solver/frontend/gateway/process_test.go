package gateway

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestInputPipe(t *testing.T) {
	p := newInputPipe()
	p.push([]byte("one "))
	p.push([]byte("two"))
	p.finish()
	p.push([]byte("too late"))
	if got, err := io.ReadAll(p); err != nil || string(got) != "one two" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestInputPipeFull has a writer wait for a reader, and for the end of one.
func TestInputPipeFull(t *testing.T) {
	for name, drain := range map[string]func(*inputPipe){
		"read":   func(p *inputPipe) { _, _ = io.CopyN(io.Discard, p, maxInput+1) },
		"closed": func(p *inputPipe) { _ = p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newInputPipe()
			p.push(bytes.Repeat([]byte("x"), maxInput+1))
			pushed := make(chan struct{})
			go func() {
				defer close(pushed)
				p.push([]byte("y"))
			}()
			drain(p)
			<-pushed
		})
	}
}

func TestSignals(t *testing.T) {
	for name, want := range map[string]int{"INT": 2, "SIGKILL": 9, "HUP": 1} {
		if got, err := parseSignal(name); err != nil || int(got) != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "9", "NONE", "int"} {
		if _, err := parseSignal(name); err == nil || !strings.Contains(err.Error(), "Unknown signal") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
