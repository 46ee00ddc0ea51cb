package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/client"
	"github.com/kilnbuild/kiln/cmd/kiln/internal/fakedaemon"
	"github.com/kilnbuild/kiln/solver/pb/control"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/session"
)

func dial(t *testing.T, d *fakedaemon.Daemon) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Options{Addr: d.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A build has a session with the key it was given, and tells its events
// before it returns.
func TestBuild(t *testing.T) {
	d := fakedaemon.Start(t)
	d.Events = []*control.StatusResponse{{Vertexes: []*control.Vertex{{Digest: "a"}}}, {Vertexes: []*control.Vertex{{Digest: "b"}}}}
	d.OnSolve = func(_ context.Context, _ *control.SolveRequest, s *session.Session) (map[string]string, error) {
		if s.SharedKey() != "key" || !s.Supports("/grpc.health.v1.Health/Check") {
			t.Errorf("session with key %q, health %v", s.SharedKey(), s.Supports("/grpc.health.v1.Health/Check"))
		}
		return map[string]string{"k": "v"}, nil
	}
	n := 0
	resp, err := dial(t, d).Build(t.Context(), client.Build{
		Request: &control.SolveRequest{Frontend: "f"}, SharedKey: "key", Events: func(*progress.Batch) { n++ },
	})
	if err != nil || resp.GetExporterResponse()["k"] != "v" || n != 2 {
		t.Errorf("response %v, error %v, %d batches", resp, err, n)
	}
}

// Cancelling ends the build with the reason.
func TestBuildCanceled(t *testing.T) {
	d := fakedaemon.Start(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("lunch")
	d.OnSolve = func(ctx context.Context, _ *control.SolveRequest, _ *session.Session) (map[string]string, error) {
		cancel(why)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := dial(t, d).Build(ctx, client.Build{Request: &control.SolveRequest{Frontend: "f"}}); !errors.Is(err, why) {
		t.Errorf("error %v, want %v", err, why)
	}
}

// Waiting ends when the daemon appears, or when the time is over.
func TestWait(t *testing.T) {
	opt := client.Options{Addr: "unix://" + filepath.Join(t.TempDir(), "none"), Wait: true, Timeout: 50 * time.Millisecond}
	if _, err := client.Dial(t.Context(), opt); err == nil {
		t.Error("no error without a daemon")
	}
	late := filepath.Join(t.TempDir(), "late")
	d := fakedaemon.Start(t)
	go func() { _ = os.Symlink(strings.TrimPrefix(d.Addr, "unix://"), late) }()
	c, err := client.Dial(t.Context(), client.Options{Addr: "unix://" + late, Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Helpers are called as the addresses say.
func TestHelper(t *testing.T) {
	dir := t.TempDir()
	for addr, want := range map[string]string{
		"ssh://u@h:22/run/x.sock":              "ssh -l u -p 22 -- h buildctl --addr unix:///run/x.sock dial-stdio",
		"ssh://h":                              "ssh -- h buildctl dial-stdio",
		"docker-container://n?context=c":       "docker --context=c exec -i n buildctl dial-stdio",
		"podman-container://n":                 "podman exec -i n buildctl dial-stdio",
		"nerdctl-container://n?namespace=s":    "nerdctl exec --namespace s -i n buildctl dial-stdio",
		"kube-pod://p?namespace=n&container=c": "kubectl --context= --namespace=n exec --container=c -i p -- buildctl dial-stdio",
	} {
		checkHelper(t, dir, addr, want)
	}
}

// checkHelper has a program of the right name note how it is called, and
// fail: the address is then told not to answer.
func checkHelper(t *testing.T, dir, addr, want string) {
	t.Helper()
	name, rest, _ := strings.Cut(want, " ")
	log := filepath.Join(dir, "log")
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho \"$@\" > "+log+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if _, err := client.Dial(t.Context(), client.Options{Addr: addr, Timeout: 5 * time.Second}); err == nil {
		t.Errorf("%s: no error", addr)
	}
	if got, _ := os.ReadFile(log); strings.TrimSpace(string(got)) != rest {
		t.Errorf("%s: called with %q, want %q", addr, got, rest)
	}
}

func TestWrongAddresses(t *testing.T) {
	for _, addr := range []string{"ssh://u:p@h", "ssh://h?x=y", "kube-pod://p?namespace=-x", "docker-container://", "tcp://", "x"} {
		if _, err := client.Dial(t.Context(), client.Options{Addr: addr, Timeout: time.Second}); err == nil {
			t.Errorf("%s: no error", addr)
		}
	}
}
