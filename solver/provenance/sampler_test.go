package provenance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver/build"
)

// TestSampler lets a long build pass and a short one beside it.
func TestSampler(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	read := func(at time.Time) (*Sample, error) { return &Sample{Timestamp: at}, nil }
	s := newSampler(read, func() time.Time { return now }, time.Hour)
	record := func(id string) *build.Record { return &build.Record{Request: &build.Request{ID: id}} }
	s.Started(record("long"))
	for i := range 100 {
		now = now.Add(time.Hour)
		s.sample()
		if i == 97 {
			s.Started(record("short"))
		}
	}
	long, short := s.Samples("long"), s.Samples("short")
	s.Ended(t.Context(), record("long"), nil)
	s.Ended(t.Context(), record("short"), nil)
	now = now.Add(time.Minute)
	got := long()
	if len(got) < maxSamples/2 || len(got) > maxSamples+1 {
		t.Errorf("a long build has %d samples", len(got))
	}
	for i := 1; i < len(got); i++ {
		if i < len(got)-1 && got[i].Timestamp.Sub(got[i-1].Timestamp) != 8*time.Hour {
			t.Errorf("sample %d is %s after the one before", i, got[i].Timestamp.Sub(got[i-1].Timestamp))
		}
	}
	if last := got[len(got)-1].Timestamp; !last.Equal(now) {
		t.Errorf("the last sample is of %s, not of %s", last, now)
	}
	if n := len(short()); n != 3 {
		t.Errorf("a short build has %d samples, want 3", n)
	}
	if n := len(s.Samples("unknown")()); n != 1 {
		t.Errorf("a build nobody watched has %d samples, want 1", n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake != nil || len(s.recordings) != 0 {
		t.Error("without builds the sampler goes on")
	}
}

// TestReadSample reads this machine, and files of others.
func TestReadSample(t *testing.T) {
	s, err := ReadSample("/proc", time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if s.CPU.Idle == 0 || s.Processes.Switches == 0 || s.Memory.Total == nil || *s.Memory.Total == 0 {
		t.Errorf("this machine is %s", encode(t, s))
	}
	dir := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("stat", "cpu  150 2 3 400 5 6 7 8 9 10 11\ncpu0 1 2 3\nctxt 12\nprocesses 13\nprocs_running 14\n\n")
	put("meminfo", "MemTotal:       15 kB\nSwapTotal: 16 kB\nHugePages_Total: 1\n")
	put("pressure/io", "some avg10=1.50 avg60=2 avg300=3 total=4\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
	if s, err = ReadSample(dir, time.Unix(1, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	want := `{"timestamp":"1970-01-01T00:00:01Z","cpuStat":{"user":1.5,"nice":0.02,"system":0.03,"idle":4,"iowait":0.05,"irq":0.06,` +
		`"softirq":0.07,"steal":0.08,"guest":0.09,"guestNice":0.1},"procStat":{"contextSwitches":12,"processCreated":13,"processesRunning":14},` +
		`"memoryStat":{"total":15,"free":null,"available":null,"buffers":null,"cached":null,"active":null,"inactive":null,"swap":16,` +
		`"dirty":null,"writeback":null,"slab":null},"ioPressure":{"some":{"avg10":1.5,"avg60":2,"avg300":3,"total":4},` +
		`"full":{"avg10":0,"avg60":0,"avg300":0,"total":0}}}`
	if text, err := json.Marshal(s); err != nil || string(text) != want {
		t.Errorf("sample is %s, %v", text, err)
	}
	put("stat", "cpu x\n")
	if _, err := ReadSample(dir, time.Time{}); err == nil || !strings.Contains(err.Error(), `line "cpu x"`) {
		t.Errorf("error %v", err)
	}
}
