package cache

import (
	"reflect"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

func sampleStructure() Structure {
	return Structure{Digest: digest.FromString("op"), Output: -1, Inputs: []Link{
		{Key: digest.FromString("in")},
		{Selector: digest.FromString("/src"), Key: digest.FromString("in2")},
	}}
}

func sampleRecord() *solver.Record {
	return &solver.Record{
		ResultID:  "snapshot-1",
		Key:       stub(digest.FromString("key"), false),
		CreatedAt: time.Unix(1700000000, 5).UTC(),
	}
}

func TestCodec(t *testing.T) {
	s := sampleStructure()
	if got, err := decodeStructure(encodeStructure(s)); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v, %v", got, err)
	}
	rec := sampleRecord()
	got, err := decodeRecord(encodeRecord(rec))
	if err != nil || got.ResultID != rec.ResultID || got.Key.ID() != rec.Key.ID() || !got.CreatedAt.Equal(rec.CreatedAt) {
		t.Errorf("got %+v, %v", got, err)
	}
	data := encodeStructure(s)
	for n := range data {
		if _, err := decodeStructure(data[:n]); err == nil {
			t.Errorf("structure of %d bytes was accepted", n)
		}
	}
	data = encodeRecord(rec)
	for n := range data {
		if _, err := decodeRecord(data[:n]); err == nil {
			t.Errorf("record of %d bytes was accepted", n)
		}
	}
}

// FuzzDecode feeds both decoders: they must not panic or allocate without
// bound, and what they accept must come out the same again.
func FuzzDecode(f *testing.F) {
	f.Add(encodeStructure(sampleStructure()))
	f.Add(encodeRecord(sampleRecord()))
	f.Add([]byte{codecVersion})
	f.Add([]byte{codecVersion, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := decodeStructure(data); err == nil {
			again, err := decodeStructure(encodeStructure(s))
			if err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("got %+v, %v, want %+v", again, err, s)
			}
		}
		if rec, err := decodeRecord(data); err == nil {
			again, err := decodeRecord(encodeRecord(rec))
			if err != nil || again.ResultID != rec.ResultID || again.Key.ID() != rec.Key.ID() || !again.CreatedAt.Equal(rec.CreatedAt) {
				t.Errorf("got %+v, %v, want %+v", again, err, rec)
			}
		}
	})
}
