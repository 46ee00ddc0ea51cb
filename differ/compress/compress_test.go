package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/zstd"
)

// sample returns n bytes that compress about as well as a layer does.
func sample(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 4000)
	for i := range words {
		w := make([]byte, 3+rng.IntN(9))
		for j := range w {
			w[j] = byte('a' + rng.IntN(26))
		}
		words[i] = w
	}
	var b bytes.Buffer
	for b.Len() < n {
		if rng.IntN(40) == 0 {
			for range 16 {
				b.WriteByte(byte(rng.Uint32()))
			}
		}
		b.Write(words[int(rng.ExpFloat64()*300)%len(words)])
		b.WriteByte(' ')
	}
	return b.Bytes()[:n]
}

// pack compresses data through writes of the given size.
func pack(t testing.TB, a Algorithm, opts Options, data []byte, step int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, a, opts)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n := min(step, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, a := range []Algorithm{Uncompressed, Gzip, Zstd} {
		for _, n := range []int{0, 1, 100, gzipBlock - 1, gzipBlock, gzipBlock + 1, 3*gzipBlock + 17} {
			t.Run(fmt.Sprintf("%s/%d", a, n), func(t *testing.T) {
				data := sample(n)
				packed := pack(t, a, Options{}, data, 70_001)
				r, err := NewReader(bytes.NewReader(packed), Limits{})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("read back %d of %d bytes, error %v", len(got), n, err)
				}
				if n > 0 && r.Algorithm() != a {
					t.Fatalf("sniffed %s", r.Algorithm())
				}
			})
		}
	}
}

func TestOutputDependsOnInputOnly(t *testing.T) {
	data := sample(3*gzipBlock + 999)
	for _, a := range []Algorithm{Gzip, Zstd} {
		want := sha256.Sum256(pack(t, a, Options{Workers: 1}, data, len(data)))
		for procs := 1; procs <= 2; procs++ {
			old := runtime.GOMAXPROCS(procs)
			for workers, step := range map[int]int{0: 4096, 2: 1<<20 + 1, 7: 100_000} {
				if sha256.Sum256(pack(t, a, Options{Workers: workers}, data, step)) != want {
					t.Errorf("%s differs with GOMAXPROCS %d, %d workers, writes of %d", a, procs, workers, step)
				}
			}
			runtime.GOMAXPROCS(old)
		}
	}
}

// TestZstdLargeIsDeterministic crosses the encoder's own section size, where
// its parallel mode could show.
func TestZstdLargeIsDeterministic(t *testing.T) {
	data := bytes.Repeat(sample(5<<20), 9)
	want := sha256.Sum256(pack(t, Zstd, Options{Workers: 1}, data, len(data)))
	if sha256.Sum256(pack(t, Zstd, Options{Workers: 5}, data, 1<<20)) != want {
		t.Error("zstd output depends on the number of workers")
	}
}

func TestGzipIsReadByEveryGunzip(t *testing.T) {
	data := sample(2*gzipBlock + 5)
	for level := 0; level <= 9; level += 3 {
		packed := pack(t, Gzip, Options{Level: &level}, data, 1<<16)
		zr, err := stdgzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(zr)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("stdlib at level %d: %d bytes, %v", level, len(got), err)
		}
		cmd := exec.Command("gzip", "-dc")
		cmd.Stdin = bytes.NewReader(packed)
		if got, err = cmd.Output(); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("gzip -dc at level %d: %d bytes, %v", level, len(got), err)
		}
	}
}

// TestGzipIsAsSmallAsOthers holds the size of the default level to what the
// standard library makes of the same bytes in one stream.
func TestGzipIsAsSmallAsOthers(t *testing.T) {
	for name, data := range map[string][]byte{"words": sample(6 << 20), "program": program(t)} {
		var one bytes.Buffer
		zw := stdgzip.NewWriter(&one)
		if _, err := zw.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		size := len(pack(t, Gzip, Options{}, data, 1<<16))
		if size > one.Len()+one.Len()/200 {
			t.Errorf("%s: %d of %d bytes, the standard library makes %d", name, size, len(data), one.Len())
		}
		t.Logf("%s: %.2f %%", name, 100*float64(size)/float64(one.Len()))
	}
}

// program returns some megabytes of this test's own binary.
func program(t testing.TB) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	return data[:min(len(data), 6<<20)]
}

func TestWriterRefusesBadOptions(t *testing.T) {
	ten, minus := 10, -1
	for _, c := range []struct {
		a    Algorithm
		opts Options
	}{{Gzip, Options{Level: &ten}}, {Gzip, Options{Level: &minus}}, {Zstd, Options{Level: &minus}}, {Xz, Options{}}, {Bzip2, Options{}}} {
		if _, err := NewWriter(io.Discard, c.a, c.opts); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: error %v", c.a, err)
		}
	}
}

// failAfter errors once n bytes were written.
type failAfter struct{ n int }

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n -= len(p); f.n < 0 {
		return 0, os.ErrClosed
	}
	return len(p), nil
}

func TestGzipReportsWriteErrors(t *testing.T) {
	w, err := NewWriter(&failAfter{n: 100_000}, Gzip, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, werr := w.Write(sample(8 << 20))
	if cerr := w.Close(); !errors.Is(errors.Join(werr, cerr), os.ErrClosed) {
		t.Errorf("errors %v and %v", werr, cerr)
	}
}

func TestReadsWhatSystemToolsWrite(t *testing.T) {
	data := sample(300_000)
	for _, c := range []struct {
		algorithm Algorithm
		command   []string
	}{
		{Gzip, []string{"gzip", "-c"}},
		{Bzip2, []string{"bzip2", "-c"}},
		{Xz, []string{"xz", "-c"}},
		{Xz, []string{"xz", "-c", "-T2", "--block-size=100000", "--check=sha256"}},
		{Xz, []string{"xz", "-c", "--check=crc32", "-0"}},
		{Xz, []string{"xz", "-c", "--check=none"}},
	} {
		t.Run(fmt.Sprint(c.command), func(t *testing.T) {
			if _, err := exec.LookPath(c.command[0]); err != nil {
				t.Fatalf("%s is not installed: run .ci/install", c.command[0])
			}
			cmd := exec.Command(c.command[0], c.command[1:]...)
			cmd.Stdin = bytes.NewReader(data)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			twice := append(bytes.Clone(packed), packed...)
			r, err := NewReader(bytes.NewReader(twice), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, append(bytes.Clone(data), data...)) || r.Algorithm() != c.algorithm {
				t.Fatalf("%s: %d bytes, %v", r.Algorithm(), len(got), err)
			}
			r, err = NewReader(bytes.NewReader(packed[:len(packed)/2]), Limits{})
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err == nil {
				t.Error("a truncated stream was accepted")
			}
		})
	}
}

func TestReaderBoundsWindows(t *testing.T) {
	var big bytes.Buffer
	zw, err := zstd.NewWriter(&big, zstd.WithWindowSize(256<<20))
	if err != nil {
		t.Fatal(err)
	}
	zw.Write(make([]byte, 1<<20))
	zw.Flush()
	zw.Close()
	files := map[string][]byte{"zstd": big.Bytes()}
	// A block header whose dictionary byte says 4 GiB.
	block := []byte{2, 0, 0x21, 1, 40, 0, 0, 0}
	block = binary.LittleEndian.AppendUint32(block, crc32.ChecksumIEEE(block))
	files["xz"] = append([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F"), block...)
	for name, packed := range files {
		r, err := NewReader(bytes.NewReader(packed), Limits{})
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "window") && !strings.Contains(err.Error(), "exceeds the limit") {
			t.Errorf("%s with a large window: error %v", name, err)
		}
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct {
		head string
		want Algorithm
	}{
		{"", Uncompressed}, {"\x1f\x8b\x08", Gzip}, {"\x1f\x8b", Uncompressed}, {"\x28\xb5\x2f\xfd", Zstd},
		{"\x52\x2a\x4d\x18", Zstd}, {"BZh9", Bzip2}, {"\xfd7zXZ\x00", Xz}, {"etc/passwd", Uncompressed},
	} {
		if got := Detect([]byte(c.head)); got != c.want {
			t.Errorf("%q is %s, want %s", c.head, got, c.want)
		}
	}
	for a := Uncompressed; a <= Xz; a++ {
		if got, err := ParseAlgorithm(a.String()); err != nil || got != a {
			t.Errorf("%s parses to %s, %v", a, got, err)
		}
	}
	if _, err := ParseAlgorithm("lzo"); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// FuzzReader feeds hostile streams to every decoder.
func FuzzReader(f *testing.F) {
	for _, a := range []Algorithm{Uncompressed, Gzip, Zstd} {
		var b bytes.Buffer
		w, _ := NewWriter(&b, a, Options{})
		w.Write([]byte("seed seed seed"))
		w.Close()
		f.Add(b.Bytes())
	}
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data), Limits{MaxWindow: 1 << 20})
		if err != nil {
			return
		}
		defer r.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<22))
	})
}

// usrTar is the tar of part of /usr, the input of the floors' figures.
func usrTar(b *testing.B) []byte {
	b.Helper()
	out, err := exec.Command("tar", "-C", "/usr", "-cf", "-", "bin", "share/perl").Output()
	if err != nil || len(out) == 0 {
		b.Fatal("cannot make a tar of /usr/bin", err)
	}
	return out[:min(len(out), 200<<20)]
}

func BenchmarkCompress(b *testing.B) {
	data := usrTar(b)
	if path := os.Getenv("KILN_BENCH_TAR"); path != "" {
		var err error
		if data, err = os.ReadFile(filepath.Clean(path)); err != nil {
			b.Fatal(err)
		}
	}
	level := 6
	report := func(b *testing.B, n int) { b.ReportMetric(float64(len(data))/float64(n), "ratio") }
	b.Run("stdlib-gzip-6", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			var c countWriter
			w, _ := stdgzip.NewWriterLevel(&c, level)
			w.Write(data)
			w.Close()
			report(b, int(c))
		}
	})
	for _, c := range []struct {
		name    string
		a       Algorithm
		workers int
	}{{"gzip-6-1core", Gzip, 1}, {"gzip-6", Gzip, 0}, {"zstd-3", Zstd, 0}} {
		b.Run(c.name, func(b *testing.B) {
			if c.workers == 1 {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var n countWriter
				w, err := NewWriter(&n, c.a, Options{Workers: c.workers})
				if err != nil {
					b.Fatal(err)
				}
				w.Write(data)
				w.Close()
				report(b, int(n))
			}
		})
	}
}

// countWriter counts bytes.
type countWriter int

func (c *countWriter) Write(p []byte) (int, error) {
	*c += countWriter(len(p))
	return len(p), nil
}
