package display

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestPlain runs the scripts of testdata/plain. KILN_UPDATE=1 writes what
// they print back; read the difference before keeping it.
func TestPlain(t *testing.T) {
	files, err := filepath.Glob("testdata/plain/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			newScript(t, newPlain(&out, strings.Contains(name, "trunc"))).run(string(a.Files[0].Data))
			if os.Getenv("KILN_UPDATE") != "" {
				a.Files[1].Data = out.Bytes()
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(a.Files[1].Data), out.String()); d != "" {
				t.Errorf("output differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 120: "120B", 999: "999B", 1000: "1.00kB", 1234: "1.23kB",
		29_150_000: "29.15MB", 5_000_000_000: "5.00GB", -2000: "-2.00kB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", n, got, want)
		}
	}
}
