package bench

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// script writes a stand-in for a client: the harness must work with any
// program that takes the flags.
func script(t *testing.T, text string) Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "client")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return Client{Path: path}
}

// TestRun drives every workload at a hundredth of its size with a client that
// only notes what it was asked, and checks order and completeness.
func TestRun(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	config := Config{
		Client:    script(t, `echo "$@" >> `+asked),
		Daemons:   []Daemon{{Name: "a", Address: "unix:///a", PID: os.Getpid()}, {Name: "b", Address: "unix:///b"}},
		Workloads: Workloads(),
		Rounds:    2,
		Scale:     200,
		Dir:       t.TempDir(),
		Log:       io.Discard,
	}
	report, err := Run(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	phases := 0
	for _, w := range config.Workloads {
		phases += len(w.Phases)
	}
	if got, want := len(report.Samples), phases*2*2; got != want {
		t.Errorf("got %d samples, want %d", got, want)
	}
	if got, want := len(report.Memory), 1+len(config.Workloads); got != want {
		t.Errorf("got %d memory readings, want %d of the one known process", got, want)
	}
	text, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if !strings.HasPrefix(lines[0], "--addr unix:///a build") || !strings.HasPrefix(lines[2], "--addr unix:///b build") {
		t.Errorf("the first round does not go in the given order: %q", lines[:3])
	}
	if !strings.Contains(string(text), "compression=zstd,force-compression=true") {
		t.Error("nothing was exported with zstd")
	}
	var order []string
	for _, s := range report.Samples[:8] {
		order = append(order, s.Daemon)
	}
	if got := strings.Join(order, ""); got != "ababbaba" {
		t.Errorf("daemons ran in order %s, want the second round reversed", got)
	}
	if left, _ := os.ReadDir(config.Dir); len(left) > 0 {
		t.Errorf("folders are left: %v", left)
	}
}

// TestRunFails checks that a failing build ends the run with the client's
// words.
func TestRunFails(t *testing.T) {
	_, err := Run(t.Context(), Config{
		Client: script(t, "echo no such daemon; exit 3\n"), Daemons: []Daemon{{Name: "a", Address: "unix:///a"}},
		Workloads: Workloads()[:1], Rounds: 1, Scale: 50, Dir: t.TempDir(), Log: io.Discard,
	})
	if err == nil || !strings.Contains(err.Error(), "no such daemon") || !strings.Contains(err.Error(), "run50") {
		t.Errorf("got %v", err)
	}
	if _, err := Run(t.Context(), Config{}); err == nil {
		t.Error("a run without daemons succeeded")
	}
}

// TestParseDaemon checks the flag's forms.
func TestParseDaemon(t *testing.T) {
	for text, want := range map[string]Daemon{
		"kiln=unix:///run/k.sock":         {Name: "kiln", Address: "unix:///run/k.sock"},
		"peer=tcp://127.0.0.1:1234,pid=7": {Name: "peer", Address: "tcp://127.0.0.1:1234", PID: 7},
		"kiln":                            {},
		"=unix:///x":                      {},
		"a=b,pid=x":                       {},
		"a=b,pid=-1":                      {},
		"a=b,rss=1":                       {},
	} {
		got, err := ParseDaemon(text)
		if got != want || (err == nil) != (want.Name != "") {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

// TestRows checks that ratios are paired by round.
func TestRows(t *testing.T) {
	r := Report{Daemons: []Daemon{{Name: "a"}, {Name: "b"}}}
	for round, pair := range [][2]float64{{10, 5}, {2, 1}, {9, 3}} {
		r.Samples = append(r.Samples, Sample{"w", "p", "a", round, pair[0]}, Sample{"w", "p", "b", round, pair[1]})
	}
	rows := r.Rows()
	if want := (Row{"w", "p", "b", 1, 3, 2}); len(rows) != 2 || rows[1] != want {
		t.Errorf("got %+v, want the second row %+v", rows, want)
	}
	var table, raw bytes.Buffer
	if err := errors.Join(r.WriteTable(&table), r.WriteJSON(&raw)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "TIMES AS FAST AS a") || !json.Valid(raw.Bytes()) {
		t.Errorf("table %q, JSON %q", &table, &raw)
	}
}

// TestMemory reads this very process.
func TestMemory(t *testing.T) {
	m, ok, err := Daemon{Name: "me", PID: os.Getpid()}.Memory()
	if err != nil || !ok || m.Resident < 1<<20 || m.Peak < m.Resident {
		t.Errorf("got %+v, %v, %v", m, ok, err)
	}
	if _, _, err := (Daemon{Name: "gone", PID: 1 << 30}).Memory(); err == nil || !strings.Contains(err.Error(), strconv.Itoa(1<<30)) {
		t.Errorf("a process that does not exist: %v", err)
	}
}

// TestPullTars checks that two rounds have nothing in common and that a layer
// is a tar of the announced files.
func TestPullTars(t *testing.T) {
	sample := filepath.Join(t.TempDir(), "data")
	if err := sampleFile(sample, "/usr/share", 4*3*pullFileSize); err != nil {
		t.Fatal(err)
	}
	first, err := pullTars(sample, 3*pullFileSize, "1")
	if err != nil {
		t.Fatal(err)
	}
	second, err := pullTars(sample, 3*pullFileSize, "2")
	if err != nil {
		t.Fatal(err)
	}
	for i := range first {
		if bytes.Equal(first[i], second[i]) {
			t.Errorf("layer %d is the same in both rounds", i)
		}
	}
	count := 0
	for tr := tar.NewReader(bytes.NewReader(first[0])); ; count++ {
		if _, err := tr.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if count != 4 {
		t.Errorf("a layer holds %d files, want the stamp and three", count)
	}
}
