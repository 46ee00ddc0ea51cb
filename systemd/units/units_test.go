package units_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/systemd/units"
)

// unpack writes the units where systemd-analyze can read them. Programs that
// are not installed here are replaced by one that is.
func unpack(t *testing.T, folder string) (files []string) {
	t.Helper()
	dir := t.TempDir()
	replace := strings.NewReplacer("/usr/bin/kilnd", "/bin/true", "/usr/bin/rootlesskit", "/bin/true",
		"/lib/systemd/systemd-socket-proxyd", "/bin/true", "man:kilnd(8)", "https://github.com/kilnbuild/kiln")
	names, err := fs.Glob(units.Files, folder+"/*")
	if err != nil || len(names) == 0 {
		t.Fatalf("units of %s: %v, %v", folder, names, err)
	}
	for _, name := range names {
		text, err := units.Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Base(name))
		write(t, path, replace.Replace(string(text)))
		files = append(files, path)
	}
	return files
}

func TestSystemdAcceptsThem(t *testing.T) {
	for folder, args := range map[string][]string{"system": {"verify"}, "user": {"--user", "verify"}} {
		for _, file := range unpack(t, folder) {
			// A template is judged as one of its instances.
			cmd := exec.Command("systemd-analyze", append(args, strings.Replace(file, "@.", "@one.", 1))...)
			cmd.Env = append(cmd.Environ(), "XDG_RUNTIME_DIR="+t.TempDir(), "SYSTEMD_LOG_LEVEL=warning")
			out, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(string(out), filepath.Base(file)) {
				t.Errorf("%s: %v\n%s", filepath.Base(file), err, out)
			}
		}
	}
}

// TestSettingsAreExplained looks for what systemd-analyze would like to see and
// the unit neither sets nor gives a reason against.
func TestSettingsAreExplained(t *testing.T) {
	for _, name := range []string{"kiln.service", "kiln@.service"} {
		text, err := units.Files.ReadFile("system/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, setting := range []string{"User", "DynamicUser", "PrivateUsers", "CapabilityBoundingSet", "AmbientCapabilities",
			"NoNewPrivileges", "RestrictSUIDSGID", "PrivateNetwork", "IPAddressDeny", "RestrictAddressFamilies", "PrivateDevices",
			"DeviceAllow", "ProtectClock", "ProtectControlGroups", "ProtectKernelTunables", "ProtectHostname", "ProtectProc", "ProcSubset",
			"RestrictNamespaces", "SystemCallFilter", "SystemCallArchitectures", "LockPersonality", "MemoryDenyWriteExecute",
			"RootDirectory", "RootImage", "UMask", "ProtectSystem", "ProtectHome", "PrivateTmp", "ProtectKernelLogs",
			"ProtectKernelModules", "RestrictRealtime", "Delegate", "NotifyAccess"} {
			if !strings.Contains(string(text), setting+"=") {
				t.Errorf("%s says nothing of %s=", name, setting)
			}
		}
	}
}

// write writes a file.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
