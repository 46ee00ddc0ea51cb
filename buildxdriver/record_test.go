package buildxdriver

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sleeper is a process that ends with the test.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // It may have ended.
		_ = cmd.Wait()
	})
	return cmd
}

func TestRecord(t *testing.T) {
	room := t.TempDir()
	if _, err := readRecord(room); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty room: %v", err)
	}
	cmd, rec := sleeper(t), &record{Socket: "/s"}
	if rec.alive() {
		t.Error("a record without a process is alive")
	}
	if err := errors.Join(rec.identify(cmd.Process.Pid), rec.write(room)); err != nil {
		t.Fatal(err)
	}
	same, err := readRecord(room)
	if err != nil || *same != *rec || !same.alive() {
		t.Fatalf("%+v, %v", same, err)
	}
	if err := os.WriteFile(filepath.Join(room, recordName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(room); err == nil || !strings.Contains(err.Error(), room) {
		t.Errorf("broken record: %v", err)
	}
	if err := same.end(time.Minute); err != nil || same.alive() {
		t.Errorf("end: %v", err)
	}
	if err := same.end(time.Minute); err != nil {
		t.Errorf("end again: %v", err)
	}
}

// TestOthersProcess leaves a process alone that has only the id of the one
// that was started.
func TestOthersProcess(t *testing.T) {
	cmd := sleeper(t)
	var rec record
	if err := rec.identify(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*record){
		"start": func(r *record) { r.Started-- }, "boot": func(r *record) { r.Boot = "earlier" },
	} {
		other := rec
		change(&other)
		if err := other.end(time.Minute); err != nil || other.alive() || !rec.alive() {
			t.Errorf("another %s: %v, alive %v", name, err, rec.alive())
		}
	}
}

// TestStubborn kills a process that does not listen.
func TestStubborn(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	cmd := exec.Command("sh", "-c", `trap "" TERM; : > "$0"; while :; do sleep 0.05; done`, ready)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, err := os.Stat(ready); err != nil; _, err = os.Stat(ready) {
		time.Sleep(time.Millisecond)
	}
	var rec record
	if err := errors.Join(rec.identify(cmd.Process.Pid), rec.end(50*time.Millisecond)); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for text, want := range map[string]string{
		"": "", "one\n": "one", strings.Repeat("x", 2*lastBytes): strings.Repeat("x", lastBytes),
		strings.Repeat("long line\n", lastBytes) + "end\n": "end",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := tail(path)
		if err != nil || !strings.HasSuffix(got, want) || len(got) > lastBytes || strings.HasPrefix(got, "ine") {
			t.Errorf("%d bytes: %q, %v", len(text), got, err)
		}
	}
}
