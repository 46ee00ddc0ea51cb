package deflate

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	kflate "github.com/klauspost/compress/flate"
)

// random returns n bytes of an alphabet.
func random(n, alphabet int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(rng.IntN(alphabet))
	}
	return out
}

// skewed returns bytes whose frequencies are those of a Fibonacci sequence: the
// best code for them is as deep as can be.
func skewed(n int) []byte {
	var out []byte
	a, b := 1, 1
	for s := 0; len(out) < n; s++ {
		out = append(out, bytes.Repeat([]byte{byte(s * 7)}, a)...)
		a, b = b, a+b
	}
	rng := rand.New(rand.NewPCG(3, 4))
	rng.Shuffle(len(out), func(i, k int) { out[i], out[k] = out[k], out[i] })
	return out[:n]
}

// mixed returns what a layer is made of: words, code-like records, zeros, and
// what was compressed before.
func mixed(n int) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	var out []byte
	for len(out) < n {
		switch rng.IntN(6) {
		case 0:
			out = append(out, make([]byte, rng.IntN(40_000))...)
		case 1:
			out = append(out, random(rng.IntN(40_000), 256, rng.Uint64())...)
		case 2:
			for i := range rng.IntN(4000) {
				out = append(out, 0x48, 0x8b, byte(rng.IntN(8)), byte(i), byte(i>>8), 0)
			}
		default:
			for range rng.IntN(8000) {
				out = append(out, fmt.Sprintf("w%d ", int(rng.ExpFloat64()*200))...)
			}
		}
	}
	return out[:n]
}

// inputs are what an encoder may stumble over.
func inputs() map[string][]byte {
	noise := random(3*HistorySize, 256, 9)
	m := map[string][]byte{
		"empty":          nil,
		"one":            {7},
		"three":          []byte("aaa"),
		"short repeat":   []byte("abcabcabcabc"),
		"zeros":          make([]byte, 3*MaxChunk+5),
		"longest match":  make([]byte, maxMatch+1),
		"one more":       make([]byte, maxMatch+2),
		"noise":          random(300_000, 256, 1),
		"two symbols":    random(200_000, 2, 2),
		"nine symbols":   random(200_000, 9, 3),
		"skewed":         skewed(400_000),
		"mixed":          mixed(2*MaxChunk + 333),
		"every byte":     bytes.Repeat(random(256, 256, 4), 40),
		"at the limit":   append(bytes.Clone(noise[:HistorySize]), noise[:HistorySize]...),
		"behind it":      append(bytes.Clone(noise[:HistorySize+1]), noise[:HistorySize+1]...),
		"twice 64 KiB":   append(bytes.Clone(noise[:2*HistorySize]), noise[:2*HistorySize]...),
		"stored limit":   random(65535, 256, 5),
		"over the limit": random(65536, 256, 6),
	}
	for _, d := range []int{-9, -1, 0, 1, 8} {
		m[fmt.Sprintf("chunk%+d", d)] = mixed(MaxChunk + d)
		m[fmt.Sprintf("window%+d", d)] = mixed(windowSize + d)
	}
	return m
}

// inflate reads a stream back in two decoders.
func inflate(t testing.TB, packed, history []byte) []byte {
	t.Helper()
	got, err := io.ReadAll(flate.NewReaderDict(bytes.NewReader(packed), history))
	if err != nil {
		t.Fatalf("standard library after %d bytes: %v", len(got), err)
	}
	other, err := io.ReadAll(kflate.NewReaderDict(bytes.NewReader(packed), history))
	if err != nil || !bytes.Equal(got, other) {
		t.Fatalf("the other decoder reads %d bytes, this %d, error %v", len(other), len(got), err)
	}
	return got
}

func TestRoundTrip(t *testing.T) {
	var e Encoder
	for name, data := range inputs() {
		t.Run(name, func(t *testing.T) {
			packed := e.Append(nil, data, 0, true)
			if got := inflate(t, packed, nil); !bytes.Equal(got, data) {
				t.Fatalf("%d of %d bytes come back, or others", len(got), len(data))
			}
			if most := len(data) + 5*(len(data)/65535+len(data)/MaxChunk+2); len(packed) > most {
				t.Errorf("%d bytes became %d", len(data), len(packed))
			}
			again := new(Encoder).Append([]byte("x"), data, 0, true)
			if again[0] != 'x' || !bytes.Equal(again[1:], packed) {
				t.Error("an encoder that was used before gives other bytes")
			}
		})
	}
}

// TestHistory joins two parts of which the second refers to the first.
func TestHistory(t *testing.T) {
	data := mixed(200_000)
	var e Encoder
	for _, history := range []int{0, 1, 5, HistorySize - 1, HistorySize, HistorySize + 1, 3 * HistorySize} {
		for _, rest := range []int{0, 1, 7, 50_000} {
			whole := e.Append(nil, data[:history], 0, false)
			alone := len(whole)
			whole = e.Append(whole, data[:history+rest], history, true)
			if got := inflate(t, whole, nil); !bytes.Equal(got, data[:history+rest]) {
				t.Fatalf("history %d, rest %d: %d bytes come back", history, rest, len(got))
			}
			second := data[history : history+rest]
			if got := inflate(t, whole[alone:], data[:history]); !bytes.Equal(got, second) {
				t.Fatalf("history %d, rest %d: the second part is %d bytes", history, rest, len(got))
			}
		}
	}
	noise := random(HistorySize, 256, 8)
	if n := len(e.Append(nil, append(noise, noise...), HistorySize, true)); n > 1000 {
		t.Errorf("what is as far back as can be is not found: %d bytes", n)
	}
}

func TestCodeIsFullAndShortEnough(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	check := func(counts []uint32, limit int) {
		t.Helper()
		var c code
		c.build(counts, limit)
		room := 0
		for s, n := range counts {
			size := int(c.size[s])
			if size > limit || n > 0 && size == 0 {
				t.Fatalf("symbol %d of %d has %d bits of %d", s, n, size, limit)
			}
			if size > 0 {
				room += 1 << (limit - size)
			}
		}
		if room != 1<<limit {
			t.Fatalf("the code fills %d of %d", room, 1<<limit)
		}
	}
	fibonacci := make([]uint32, 40)
	for i := range fibonacci {
		if fibonacci[i] = 1; i > 1 {
			fibonacci[i] = fibonacci[i-1] + fibonacci[i-2]
		}
	}
	check(fibonacci, maxCodeBits)
	check(fibonacci[:metaCodes], maxMetaBits)
	check(make([]uint32, distCodes), maxCodeBits)
	for range 2000 {
		counts := make([]uint32, []int{metaCodes, distCodes, literalCodes}[rng.IntN(3)])
		for i := range counts {
			if rng.IntN(3) > 0 {
				counts[i] = uint32(1) << rng.IntN(22)
			}
		}
		check(counts, maxCodeBits)
		check(counts[:metaCodes], maxMetaBits)
	}
}

func TestLengthAndDistanceSymbols(t *testing.T) {
	for length := 3; length <= maxMatch; length++ {
		s := lengthSymbols[length]
		if over := length - int(lengthBase[s]); over < 0 || over >= 1<<lengthExtra[s] {
			t.Errorf("length %d: symbol %d begins at %d", length, s, lengthBase[s])
		}
	}
	base := uint32(1)
	for s := range uint32(distCodes) {
		if got := distSymbol(base); got != s {
			t.Errorf("distance %d: symbol %d, want %d", base, got, s)
		}
		base += 1 << distExtra(s)
		if got := distSymbol(base - 1); got != s {
			t.Errorf("distance %d: symbol %d, want %d", base-1, got, s)
		}
	}
	if base != HistorySize+1 {
		t.Errorf("the symbols end at %d", base-1)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	data := mixed(300_000)
	var e Encoder
	out := e.Append(nil, data, 0, true)
	if n := testing.AllocsPerRun(3, func() { e.Append(out[:0], data, 0, true) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRoundTrip(f *testing.F) {
	for _, data := range inputs() {
		if len(data) < 100_000 {
			f.Add(data, uint16(len(data)/3), true)
		}
	}
	var e Encoder
	f.Fuzz(func(t *testing.T, data []byte, history uint16, final bool) {
		h := min(int(history), len(data))
		packed := e.Append(nil, data, h, final)
		if !final {
			packed = e.Append(packed, data, len(data), true)
		}
		if got := inflate(t, packed, data[:h]); !bytes.Equal(got, data[h:]) {
			t.Fatalf("%d of %d bytes come back, or others", len(got), len(data)-h)
		}
	})
}

// BenchmarkAppend measures kinds of content, with the standard library beside.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name string
		data []byte
	}{{"mixed", mixed(4 << 20)}, {"noise", random(4<<20, 256, 1)}, {"zeros", make([]byte, 4<<20)}} {
		b.Run(c.name, func(b *testing.B) {
			var e Encoder
			var out []byte
			b.SetBytes(int64(len(c.data)))
			for b.Loop() {
				out = e.Append(out[:0], c.data, 0, true)
			}
			b.ReportMetric(float64(len(out)), "bytes")
		})
		b.Run(c.name+"/standard", func(b *testing.B) {
			b.SetBytes(int64(len(c.data)))
			for b.Loop() {
				w, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := w.Write(c.data); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
