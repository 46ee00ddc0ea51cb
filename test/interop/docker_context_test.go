package interop_test

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
)

// TestDockerContextTimes posts two contexts whose files have the same names,
// sizes and times, as archives made by libraries do, but not the same text.
func TestDockerContextTimes(t *testing.T) {
	e := newEngine(t)
	built := func(text string) said {
		t.Helper()
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, f := range [][2]string{{"Dockerfile", "FROM scratch\nCOPY f ../g /\n"}, {"f", text}, {"../g", text}} {
			if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, f[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, answer := e.post("/build", &out)
		return readStream(t, strings.NewReader(answer))
	}
	one, again, two := built("one"), built("one"), built("two")
	if one.id == "" || again.id != one.id || !strings.Contains(again.text, "Using cache") {
		t.Errorf("the same context twice: %+v, %+v", one, again)
	}
	if two.id == one.id || strings.Contains(two.text, "Using cache") {
		t.Errorf("another context: %+v", two)
	}
}
