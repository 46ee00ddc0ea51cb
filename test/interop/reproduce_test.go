package interop_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/test/daemon"
)

// reproduced is a Dockerfile whose steps leave what tends to differ: times of
// files, folders and links, many small files, a file of more than one block of
// a parallel compression, hard links, removed files, and a stage that is linked.
const reproduced = ` AS made
RUN mkdir -p /made/deep/er && for i in $(seq 300); do echo $i > /made/f$i; done && ln /made/f7 /made/deep/hard && \
    ln -s ../f9 /made/deep/soft && seq 400000 > /made/large && mkfifo /made/pipe && chown 7:8 /made/f1 && chmod 4755 /made/f2
FROM made
RUN rm /made/f3 && date +%N > /dev/null && touch /made/f4 && rm -r /made/deep && mkdir /made/deep && cp /made/large /copy
COPY --link context/ /linked/
COPY --chown=5:6 context/ /copied/
COPY --from=made /made /again
WORKDIR /work/dir
`

// TestReproducible builds the same thing with a source date epoch at different
// times, on daemons that share nothing, on one core and on two, from nothing and
// from the cache, for every compression and every output that makes an image:
// everything that comes out has one digest.
func TestReproducible(t *testing.T) {
	text := "FROM " + base(t, "busybox") + reproduced
	seen := map[string]map[string]string{} // compression → output → digest
	for cores := 1; cores <= 2; cores++ {
		d := fresh(t, daemon.Config{Env: []string{fmt.Sprintf("GOMAXPROCS=%d", cores)}})
		dir := reproducible(t, text, cores)
		for _, round := range []string{"new", "cached"} {
			for _, compression := range []string{"uncompressed", "gzip", "zstd", "estargz"} {
				where := fmt.Sprintf("%s on %d cores, %s", compression, cores, round)
				got := reproduce(t, d, dir, compression)
				first, ok := seen[compression]
				if !ok {
					first = got
					seen[compression] = got
				}
				for output, digest := range got {
					if digest != first[output] {
						t.Errorf("%s: output %s has digest %s, at first it was %s", where, output, digest, first[output])
					}
				}
				if got["image"] != got["oci"] || got["image"] != got["docker"] || got["image"] != got["layout"] {
					t.Errorf("%s: one image has several digests: %v", where, got)
				}
			}
		}
	}
	if len(seen) != 4 || seen["gzip"]["image"] == seen["zstd"]["image"] || seen["gzip"]["files"] != seen["zstd"]["files"] {
		t.Errorf("digests are %v", seen)
	}
}

// reproducible writes the context: the same files, in another order and with
// other times for each n.
func reproducible(t *testing.T, text string, n int) string {
	t.Helper()
	files := []string{"context/a", "context/b/c", "context/b/d", "context/e/f/g"}
	if n%2 == 0 {
		slices.Reverse(files)
	}
	dir := folder(t, "Dockerfile", text)
	for _, name := range files {
		write(t, filepath.Join(dir, name), strings.Repeat(name, 5000))
	}
	at := time.Now().Add(-time.Duration(n) * time.Hour)
	for _, name := range append(files, "context/b", "context/e", "context") {
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// reproduce builds into every output and returns the digest of each.
func reproduce(t *testing.T, d *daemon.Daemon, dir, compression string) map[string]string {
	t.Helper()
	out := t.TempDir()
	how := ",rewrite-timestamp=true,force-compression=true,compression=" + compression
	dockerfile(t, d, dir, "--opt=build-arg:SOURCE_DATE_EPOCH=1700000000", "--metadata-file="+out+"/meta.json",
		"--output=type=oci,dest="+out+"/oci.tar"+how, "--output=type=docker,dest="+out+"/docker.tar,name=r.test/same:1"+how,
		"--output=type=oci,tar=false,dest="+out+"/layout"+how, "--output=type=tar,dest="+out+"/files.tar",
		"--output=type=image,name=r.test/same:"+compression+how).ok(t)
	var meta struct {
		Digest string `json:"containerimage.digest"`
	}
	decode(t, read(t, out+"/meta.json"), &meta)
	got := map[string]string{
		"image":  meta.Digest,
		"oci":    rootOf(t, member(t, out+"/oci.tar", "index.json")),
		"docker": rootOf(t, member(t, out+"/docker.tar", "index.json")),
		"layout": rootOf(t, read(t, out+"/layout/index.json")),
	}
	for _, name := range []string{"oci", "docker", "files"} {
		key := name
		if name != "files" {
			key += " archive"
		}
		got[key] = digestOf(read(t, filepath.Join(out, name+".tar")))
	}
	if named := ctr(t, d, "images", "ls", "name==r.test/same:"+compression).ok(t).stdout; !strings.Contains(named, meta.Digest) {
		t.Errorf("the image of %s is stored as %s", meta.Digest, named)
	}
	return got
}

// rootOf returns the digest of the only thing that a layout's index names.
func rootOf(t *testing.T, index string) string {
	t.Helper()
	var list struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal([]byte(index), &list); err != nil || len(list.Manifests) != 1 {
		t.Fatalf("index of a layout names %d things, %v: %s", len(list.Manifests), err, index)
	}
	return list.Manifests[0].Digest
}

// member returns a file of a tar archive.
func member(t *testing.T, path, name string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("archive %s has no %s", path, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != name {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}
