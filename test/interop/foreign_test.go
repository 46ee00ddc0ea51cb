package interop_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/test/daemon"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// foreignFile has programs started by the kernel for a program, a script, and
// another user: an emulator that runs nothing but its first program fails.
const foreignFile = `
RUN uname -m >/arch && printf '#!/bin/sh\nexec /bin/uname -m\n' >/script && chmod 755 /script && /script >>/arch
RUN ["/script"]
RUN --network=none env -i /bin/sh -c '/bin/uname -m' >>/arch && chown 1000:50000 /arch && ls /sys/devices/system/cpu/online
USER 65534
RUN id -u && test "$(stat -c %u /arch)" = 1000
`

// TestForeignSteps builds for two platforms at once, with an emulator that only
// the daemon knows, and pushes an index of both.
func TestForeignSteps(t *testing.T) {
	d := fresh(t, daemon.Config{Env: []string{"PATH=" + fixtures.Emulator(t) + ":" + os.Getenv("PATH")}})
	dir := folder(t, "Dockerfile", "FROM "+base(t, "busybox-multi")+foreignFile)
	out := t.TempDir()
	dockerfile(t, d, dir, "--opt=platform=linux/amd64,linux/arm64", "--output=type=local,dest="+out).ok(t)
	for platform, arch := range map[string]string{"linux_amd64": "x86_64", "linux_arm64": "aarch64"} {
		if got := strings.Fields(read(t, filepath.Join(out, platform, "arch"))); len(got) != 3 || got[0] != arch || got[1] != arch || got[2] != arch {
			t.Errorf("steps of %s ran on %q", platform, got)
		}
	}

	b := newBuildx(t, d.Address)
	ref := world.registry.Addr + "/foreign:both"
	b.run("build", "--platform=linux/amd64,linux/arm64", "--provenance=false", "--push", "--tag="+ref, dir).ok(t)
	var index ocispecs.Index
	if err := json.Unmarshal([]byte(b.run("imagetools", "inspect", "--raw", ref).ok(t).stdout), &index); err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range index.Manifests {
		platforms = append(platforms, m.Platform.OS+"/"+m.Platform.Architecture)
	}
	if strings.Join(platforms, " ") != "linux/amd64 linux/arm64" {
		t.Errorf("the index has %q", platforms)
	}
	// Nothing of it is left for other processes of this machine.
	if _, err := os.Stat("/proc/sys/fs/binfmt_misc/kiln-arm64"); err == nil {
		t.Error("the emulator is registered with the machine")
	}
}
