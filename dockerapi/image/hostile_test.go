package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// digests are texts as what they are.
func digests(all []string) []digest.Digest {
	out := make([]digest.Digest, len(all))
	for i, d := range all {
		out[i] = digest.Digest(d)
	}
	return out
}

const layout = `{"imageLayoutVersion":"1.0.0"}`

// blob is a file of a layout under the name of its digest.
func blob(body string) (file, digest.Digest) {
	d := digest.FromString(body)
	return file{name: "blobs/sha256/" + d.Encoded(), body: body}, d
}

func TestHostileArchives(t *testing.T) {
	a := newAPI(t)
	config, configDigest := blob(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + digest.FromString("x").String() + `"]}}`)
	manifest, manifestDigest := blob(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":1}]}`, configDigest, len(config.body), digest.FromString("x")))
	index := func(size int, d digest.Digest, more string) file {
		return file{name: "index.json", body: fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":`+
			`"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d%s}]}`, d, size, more)}
	}
	oci := file{name: "oci-layout", body: layout}
	for name, tc := range map[string]struct {
		files []file
		text  string
	}{
		"empty":          {nil, "archive is empty"},
		"traversal":      {[]file{{name: "../../etc/passwd", body: "x"}}, "is outside of the archive"},
		"absolute":       {[]file{{name: "/etc/passwd", body: "x"}}, "is outside of the archive"},
		"device":         {[]file{{name: "d", kind: tar.TypeChar}}, "want files, directories and symbolic links"},
		"fifo":           {[]file{{name: "d", kind: tar.TypeFifo}}, "want files, directories and symbolic links"},
		"hard link":      {[]file{{name: "d", kind: tar.TypeLink, link: "/etc/passwd"}}, "want files, directories and symbolic links"},
		"twice":          {[]file{oci, oci}, `two entries "oci-layout"`},
		"long name":      {[]file{{name: strings.Repeat("n", 5000)}}, "more than 1024 bytes"},
		"nothing known":  {[]file{{name: "f", body: "x"}}, "unrecognized image format"},
		"no index":       {[]file{oci}, "missing index.json"},
		"other layout":   {[]file{{name: "oci-layout", body: `{"imageLayoutVersion":"9"}`}}, "unsupported OCI version"},
		"wrong digest":   {[]file{oci, {name: config.name, body: "other"}}, "unexpected commit digest"},
		"bad manifest":   {[]file{{name: "manifest.json", body: `[{"Config":"x","Layers":["y"]}]`}}, `image config "x" not found`},
		"not JSON":       {[]file{{name: "manifest.json", body: `{`}}, "manifest"},
		"big document":   {[]file{{name: "manifest.json", body: strings.Repeat(" ", 5<<20)}}, "more than the limit"},
		"symlink loop":   {[]file{{name: "manifest.json", body: `[{"Config":"a","Layers":["b"]}]`}, {name: "a", kind: tar.TypeSymlink, link: "a"}}, "no target for symlink"},
		"no manifest":    {[]file{oci, index(10, manifestDigest, "")}, "does not have the content"},
		"no layer":       {[]file{oci, manifest, config, index(len(manifest.body), manifestDigest, "")}, "does not have all layers"},
		"wrong size":     {[]file{oci, manifest, config, index(1, manifestDigest, "")}, "another size"},
		"bad digest":     {[]file{oci, index(10, "sha256:zz", "")}, `digest "sha256:zz"`},
		"names an id":    {[]file{oci, manifest, config, index(len(manifest.body), manifestDigest, `,"annotations":{"io.containerd.image.name":"sha256:abc"}`)}, "looks like an id"},
		"index of index": {[]file{oci, {name: "index.json", body: `{"manifests":[{"mediaType":"text/plain","digest":"` + configDigest.String() + `","size":3}]}`}}, "which is no image"},
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			a.do(http.MethodPost, "/images/load", packed(t, tc.files...)).want(http.StatusOK).fails(tc.text)
			a.nothing()
		})
	}
}

func TestBombs(t *testing.T) {
	a := newAPI(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(packed(t, file{name: "zeros", body: string(make([]byte, 40<<20))}).Bytes()); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	a.do(http.MethodPost, "/images/load", bytes.NewReader(bomb.Bytes())).want(http.StatusOK).fails("times as many")
	a.nothing()
	a.do(http.MethodPost, "/images/create", bytes.NewReader(bomb.Bytes()), "fromSrc", "-").want(http.StatusBadRequest, "times as many")
	a.nothing()
}

func TestDamagedStreams(t *testing.T) {
	a := newAPI(t)
	good := packed(t, file{name: "oci-layout", body: layout}, file{name: "f", body: strings.Repeat("x", 4096)}).Bytes()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(good); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{
		"cut":         good[:2000],
		"gzip cut":    z.Bytes()[:z.Len()/2],
		"gzip head":   {0x1f, 0x8b, 8},
		"text":        []byte("this is no archive, but long enough to be looked at as one" + strings.Repeat(".", 1000)),
		"zstd head":   {0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff},
		"nothing":     {},
		"sparse huge": sparse(t),
	} {
		t.Run(name, func(t *testing.T) {
			a.t = t
			a.do(http.MethodPost, "/images/load", bytes.NewReader(body)).want(http.StatusOK).fails("")
			a.nothing()
		})
	}
}

// sparse is an archive with a file of an exabyte that takes no space.
func sparse(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	records := map[string]string{"KILN.sparse.major": "1", "KILN.sparse.minor": "0", "KILN.sparse.name": "big", "KILN.sparse.realsize": "1152921504606846976"}
	if err := w.WriteHeader(&tar.Header{Name: "GNUSparseFile.0/big", Typeflag: tar.TypeReg, Size: 512, PAXRecords: records, Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(append([]byte("0\n"), make([]byte, 510)...)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	// The writer refuses to write such records itself.
	return bytes.ReplaceAll(out.Bytes(), []byte("KILN.sparse"), []byte("GNU.sparse."))
}
