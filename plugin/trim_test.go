package plugin

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// resident returns the resident pages of files, in kB.
func resident(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no RssFile in status")
	return 0
}

func TestTrimProgram(t *testing.T) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	clean := cleanMappings(exe)
	if len(clean) == 0 {
		t.Fatal("the program has no mapping of its own pages")
	}
	before := resident(t)
	for range 3 {
		giveBack()
	}
	// Everything goes on as before, with the pages that it takes.
	if after := resident(t); after > before {
		t.Errorf("%d kB of files before, %d kB after", before, after)
	} else {
		t.Logf("%d kB of files before, %d kB after", before, after)
	}
}

func TestParseRange(t *testing.T) {
	for text, want := range map[string]*mapping{
		"00400000-00e4a000": {0x400000, 0xe4a000}, "7f-7f": nil, "x-y": nil, "": nil, "ff": nil,
	} {
		got := parseRange(text)
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
	}
}
