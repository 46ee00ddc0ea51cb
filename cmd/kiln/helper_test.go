package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/fakedaemon"
)

// standIn puts a program on the path that does what the real one would: it
// drops its own arguments and runs the buildctl that is "over there".
func standIn(t *testing.T, dir, name string) {
	t.Helper()
	script := "#!/bin/sh\nwhile [ \"$1\" != buildctl ]; do shift || exit 9; done\nexec \"$@\"\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Builds go through docker, podman, nerdctl, kubectl and ssh: each a process
// that runs buildctl dial-stdio at the far side.
func TestHelpers(t *testing.T) {
	d := fakedaemon.Start(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"docker", "podman", "nerdctl", "kubectl", "ssh"} {
		standIn(t, dir, name)
	}
	if err := os.Symlink(self, filepath.Join(dir, "buildctl")); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{
		"docker-container://box", "docker-container://box?context=far", "podman-container://box", "nerdctl-container://box?namespace=k8s.io",
		"kube-pod://pod-0?namespace=ci&container=buildkitd", "ssh://me@far:2222", "ssh://far" + strings.TrimPrefix(d.Addr, "unix://"),
	} {
		cmd, out := process(t, "kiln", "--addr", addr, "build", "--frontend", "f", "--progress", "plain")
		cmd.Env = append(cmd.Env, "PATH="+dir+":"+os.Getenv("PATH"))
		if !strings.HasPrefix(addr, "ssh://far/") {
			// The environment of the container says where its daemon is.
			cmd.Env = append(cmd.Env, "BUILDKIT_HOST="+d.Addr)
		}
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v\n%s", addr, err, out)
		}
	}
}
