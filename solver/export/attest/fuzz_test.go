package attest

import (
	"encoding/json"
	"testing"
)

// FuzzStatement decodes statements of strangers: what is accepted can be
// written again.
func FuzzStatement(f *testing.F) {
	f.Add([]byte(`{"predicateType":"x","subject":[{"name":"a","digest":{"sha256":"00"}}],"predicate":{}}`))
	f.Add([]byte(`{"subject":[{"digest":{"":""}}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := decode(data)
		if err != nil {
			return
		}
		if _, err := json.Marshal(d.Statement(nil)); err != nil {
			t.Errorf("cannot be written: %v", err)
		}
	})
}
