package display

import (
	"strings"
	"testing"
	"unicode"
)

// What a build prints never moves the cursor, whatever it is, and a row is
// never wider than it may be.
func FuzzPlainText(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[2J", "a\rb", "\x1b]0;t\x07", "日本\u0301", "\x1b", "\xff\t", "\u009b2J"} {
		f.Add(s, 10)
	}
	f.Fuzz(func(t *testing.T, s string, width int) {
		width = max(1, width%200)
		out := cut(plainText(s), width)
		if i := strings.IndexFunc(out, unicode.IsControl); i >= 0 {
			t.Errorf("control character %q of %q is left", out[i:], s)
		}
		if n := columns(out); n > width {
			t.Errorf("%d columns of %d", n, width)
		}
		row := timed(" => "+s, "1B", 0, width)
		if n := columns(row); n > width {
			t.Errorf("row of %d columns, want at most %d: %q", n, width, row)
		}
	})
}
