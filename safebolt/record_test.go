package safebolt

import "testing"

// FuzzRecord feeds torn and foreign slots to the decoder: it may refuse them, never misread them.
func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, slotLen))
	f.Add((&record{sequence: 3, bootID: "1e2c6e0a-0000-4000-8000-000000000000"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r := decodeRecord(b)
		if r == nil {
			return
		}
		if got := r.encode(); string(got) != string(b) {
			t.Errorf("record changes when written back: %x, was %x", got, b)
		}
	})
}
