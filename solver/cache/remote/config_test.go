package remote

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func dgst(s string) digest.Digest { return digest.FromString(s) }

// TestConfigForm pins what other builders read: a missing parent is the first
// layer, a root says so, and nothing else is written that is zero.
func TestConfigForm(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := Config{
		Layers: []Layer{{Blob: dgst("a"), Parent: Root}, {Blob: dgst("b")}},
		Records: []Record{
			{Digest: dgst("r")},
			{Digest: dgst("s"), Results: []TopLayer{{Layer: 1, CreatedAt: at}}, Inputs: [][]Input{{{Link: 0}, {Selector: "x", Link: 0}}}},
		},
	}
	got, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"layers":[{"blob":"` + string(dgst("a")) + `","parent":-1},{"blob":"` + string(dgst("b")) + `"}],` +
		`"records":[{"digest":"` + string(dgst("r")) + `"},{"layers":[{"layer":1,"createdAt":"2026-01-02T03:04:05Z"}],` +
		`"digest":"` + string(dgst("s")) + `","inputs":[[{"link":0},{"selector":"x","link":0}]]}]}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := ParseConfig(got); err != nil {
		t.Error(err)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	d := string(dgst("a"))
	for _, tc := range []struct{ name, json, want string }{
		{"no json", `{`, "unexpected end"},
		{"blob", `{"layers":[{"blob":"sha256:x","parent":-1}]}`, "layer 0: blob"},
		{"parent", `{"layers":[{"blob":"` + d + `","parent":1}]}`, "parent 1 of 1"},
		{"parent below root", `{"layers":[{"blob":"` + d + `","parent":-2}]}`, "parent -2"},
		{"own parent", `{"layers":[{"blob":"` + d + `"}]}`, "layers: number 0 is below itself"},
		{"record digest", `{"records":[{"digest":"random:1"}]}`, "record 0: digest"},
		{"result", `{"records":[{"digest":"` + d + `","layers":[{"layer":0}]}]}`, "record 0: layer 0 of 0"},
		{"chain", `{"records":[{"digest":"` + d + `","chains":[{"layers":[-1]}]}]}`, "layer -1 of 0 in a chain"},
		{"empty input", `{"records":[{"digest":"` + d + `","inputs":[[]]}]}`, "input 0 is empty"},
		{"link", `{"records":[{"digest":"` + d + `","inputs":[[{"link":7}]]}]}`, "link 7 of 1"},
		{"loop", `{"records":[{"digest":"` + d + `","inputs":[[{"link":1}]]},{"digest":"` + d + `","inputs":[[{"link":0}]]}]}`,
			"records: number 0 is below itself"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig([]byte(tc.json))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// FuzzParseConfig checks that no document makes a reader panic, and that what
// is accepted can be searched.
func FuzzParseConfig(f *testing.F) {
	d := string(dgst("a"))
	f.Add([]byte(`{"layers":[{"blob":"` + d + `","parent":-1}],"records":[{"digest":"` + d + `","layers":[{"layer":0}]}]}`))
	f.Add([]byte(`{"records":[{"digest":"` + d + `","inputs":[[{"link":1}]]},{"digest":"` + d + `","chains":[{"layers":[]}]}]}`))
	f.Add([]byte(`{"layers":[{"blob":"` + d + `"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		table := NewTable(c, nil, nil)
		for i := range c.Records {
			if s := table.stacks(i); len(s) > 0 {
				t.Errorf("record %d has results of layers that nobody described", i)
			}
		}
	})
}
