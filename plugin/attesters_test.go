package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProvenanceFields(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a.json", `{"k":1,"both":"a"}`)
	put("b.json", `{"both":"b"}`)
	put("c.txt", "not read")
	if err := os.Mkdir(filepath.Join(dir, "d.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := provenanceFields(dir)
	if err != nil || len(got) != 2 || got["both"] != "b" {
		t.Errorf("fields are %v, %v", got, err)
	}
	for _, none := range []string{"", filepath.Join(dir, "missing")} {
		if got, err := provenanceFields(none); got != nil || err != nil {
			t.Errorf("%q: %v, %v", none, got, err)
		}
	}
	for text, want := range map[string]string{
		"[]": "provenanceEnvDir: z.json: want one JSON object", `{"platform":1}`: `key "platform" is builtin`,
		`"` + strings.Repeat("x", maxProvenanceFile) + `"`: "bytes, at most",
	} {
		put("z.json", text)
		if _, err := provenanceFields(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
}
