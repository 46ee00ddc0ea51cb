package export_test

import (
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver/export"
)

func TestBool(t *testing.T) {
	for value, want := range map[string]bool{"": true, "true": true, "1": true, "false": false, "0": false} {
		if got, err := export.Bool("push", value); got != want || err != nil {
			t.Errorf("%q: %v, %v", value, got, err)
		}
	}
	if _, err := export.Bool("push", "yes"); err == nil {
		t.Error("yes is no error")
	}
}

func TestEpoch(t *testing.T) {
	src := &export.Source{Metadata: map[string][]byte{export.MetaEpoch: []byte("5"), export.MetaEpoch + "/linux/arm64": []byte("6"), export.MetaEpoch + "/none": nil}}
	attr := func(v string) export.Epoch {
		t.Helper()
		e, err := export.ParseEpoch(v)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, tc := range []struct {
		name     string
		epoch    export.Epoch
		platform string
		want     int64 // 0 for none
	}{
		{"attribute wins", attr("7"), "linux/arm64", 7},
		{"empty attribute switches off", attr(""), "linux/arm64", 0},
		{"of the platform", export.Epoch{}, "linux/arm64", 6},
		{"of all", export.Epoch{}, "linux/amd64", 5},
		{"none for the platform", export.Epoch{}, "none", 0},
	} {
		got, err := tc.epoch.For(src, tc.platform)
		if err != nil || (got == nil) != (tc.want == 0) || got != nil && !got.Equal(time.Unix(tc.want, 0)) {
			t.Errorf("%s: %v, %v", tc.name, got, err)
		}
	}
}

func TestWith(t *testing.T) {
	src := &export.Source{Metadata: map[string][]byte{"a": []byte("1")}}
	c := src.With(map[string]string{"a": "2", "b": "3"})
	if string(src.Meta("a", "")) != "1" || src.Meta("b", "") != nil || string(c.Meta("a", "")) != "2" || string(c.Meta("b", "x")) != "3" {
		t.Errorf("source is %v, copy %v", src.Metadata, c.Metadata)
	}
}
