package runc

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestForeignArguments(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"bin", "usr/bin", "opt"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"bin/busybox":   "\x7fELF",
		"opt/script":    "#!/usr/bin/env -S python3 -u\nprint()",
		"opt/nested":    "#! /opt/script\n",
		"opt/relative":  "#!python3\n",
		"usr/bin/empty": "",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/plain"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"bin/sh": "/bin/busybox", "bin/out": "../../../../etc/hostname", "bin/self": "self"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	f := foreign{emulator: "/usr/bin/qemu"}
	for _, tt := range []struct{ args, want string }{
		{"sh -c x", "/bin/sh -c x"},
		{"/bin/sh", "/bin/sh"},
		{"empty", "/usr/bin/empty"},
		{"plain", "plain"},
		{"out", "out"},
		{"self", "self"},
		{"gone", "gone"},
		{"./x y", "./x y"},
		{"/opt/script a", "/usr/bin/env -S python3 -u /opt/script a"},
		{"/opt/nested", "/usr/bin/env -S python3 -u /opt/script /opt/nested"},
		{"/opt/relative", "/opt/relative"},
	} {
		got := f.arguments(root, strings.Split(tt.args, " "), []string{"A=b", "PATH=/usr/bin:/bin"})
		// The argument of an interpreter is one, whatever it looks like.
		if got[0] != emulatorPath || strings.Join(got[1:], " ") != tt.want {
			t.Errorf("%s becomes %q, want %s", tt.args, got, tt.want)
		}
	}
	if got := (foreign{}).arguments(root, []string{"sh"}, nil); !slices.Equal(got, []string{"sh"}) {
		t.Errorf("without an emulator: %q", got)
	}
}

// TestNativePrograms has an image that is not for the platform it says: what is
// the machine's own is not put under an emulator.
func TestNativePrograms(t *testing.T) {
	root := t.TempDir()
	own, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte{}, own[:elfHead]...)
	other[18] ^= 1 // of the processor
	for name, content := range map[string][]byte{"sh": own[:elfHead], "other": other, "short": own[:elfHead-1], "script": []byte("#!/sh -x\n")} {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f := foreign{emulator: "/usr/bin/qemu"}
	for args, native := range map[string]bool{"sh -c x": true, "/sh": true, "/script a": true, "other": false, "/short": false, "/gone": false} {
		asked := strings.Split(args, " ")
		got := f.arguments(root, asked, []string{"PATH=/"})
		if native && !slices.Equal(got, asked) || !native && got[0] != emulatorPath {
			t.Errorf("%s becomes %q", args, got)
		}
	}
}

func FuzzParseScriptLine(f *testing.F) {
	for _, s := range []string{"#!/bin/sh\n", "#! /bin/sh -e x \n", "#!", "#!\n", "#!sh", "\x7fELF", "#!/bin/sh\x00\n", "#!" + strings.Repeat("/x", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := parseScriptLine(strings.NewReader(text))
		if len(got) > 2 {
			t.Fatalf("%q has %d parts", text, len(got))
		}
		for i, part := range got {
			if part == "" || len(part) > maxScriptLine || strings.ContainsAny(part, "\x00\n") || i == 0 && part[0] != '/' {
				t.Errorf("%q has part %q", text, part)
			}
		}
	})
}
