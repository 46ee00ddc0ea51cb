package files_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/exporttest"
	"github.com/kilnbuild/kiln/solver/export/files"
	"github.com/kilnbuild/kiln/solver/ref"
)

// run exports src to the client with attributes "k=v".
func run(t *testing.T, c *exporttest.Client, asTar bool, src *export.Source, attrs ...string) error {
	t.Helper()
	m := map[string]string{}
	for _, a := range attrs {
		k, v, _ := strings.Cut(a, "=")
		m[k] = v
	}
	in, err := files.New(files.Config{Sessions: c.Sessions, Tar: asTar}).Resolve(t.Context(), m)
	if err != nil {
		return err
	}
	want := "exporting to client directory"
	if asTar {
		want = "exporting to client tarball"
	}
	if in.Name() != want {
		t.Errorf("name is %q", in.Name())
	}
	_, err = in.Export(t.Context(), src, export.Target{Env: c.Env, ID: 3})
	return err
}

// list describes the files below dir, one a line.
func list(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		switch {
		case err != nil:
			return err
		case rel == ".":
		case d.IsDir():
			out = append(out, rel+"/")
		case d.Type()&fs.ModeSymlink != 0:
			l, err := os.Readlink(p)
			out = append(out, rel+" -> "+l)
			return err
		default:
			data, err := os.ReadFile(p)
			out = append(out, rel+" "+string(data))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// two is a source with two platforms that share a file iff clash.
func two(h *exporttest.Host, clash bool) *export.Source {
	amd, arm := "bin/amd", "bin/arm"
	if clash {
		amd, arm = "bin/x", "bin/x"
	}
	src := &export.Source{Refs: map[string]*ref.Ref{
		"linux/amd64": h.Ref(nil, exporttest.Files{amd: "1", "bin/l1": "=" + amd}),
		"linux/arm64": h.Ref(nil, exporttest.Files{arm: "2", "bin/l2": "=" + arm}),
	}}
	for _, arch := range []string{"amd64", "arm64"} {
		src.Platforms = append(src.Platforms, export.Platform{ID: "linux/" + arch, Platform: ocispecs.Platform{OS: "linux", Architecture: arch}})
	}
	return src
}

func TestDirectory(t *testing.T) {
	split := []string{
		"linux_amd64/", "linux_amd64/bin/", "linux_amd64/bin/amd 1", "linux_amd64/bin/l1 1",
		"linux_arm64/", "linux_arm64/bin/", "linux_arm64/bin/arm 2", "linux_arm64/bin/l2 2",
	}
	together := []string{"bin/", "bin/amd 1", "bin/arm 2", "bin/l1 1", "bin/l2 2"}
	for _, tc := range []struct {
		name      string
		single    bool
		attrs     []string
		want      []string
		transfers int
		statuses  []string
	}{
		{"one", true, nil, []string{"a 1", "dir/", "dir/b 2", "link -> a"}, 1, []string{"copying files"}},
		{"one but split", true, []string{"platform-split=true"}, nil, 1, []string{"copying files linux/amd64"}},
		{"several", false, nil, split, 2, []string{"copying files linux/amd64", "copying files linux/arm64"}},
		{"several not split", false, []string{"platform-split=false"}, together, 2, []string{"copying files"}},
		{"delete", false, []string{"mode=delete"}, split, 1, []string{"copying files"}},
		{"delete and not split", false, []string{"mode=Delete", "platform-split=0"}, together, 1, []string{"copying files"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := exporttest.NewHost(t)
			dir := t.TempDir()
			c := exporttest.NewClient(t, exporttest.ClientConfig{Dir: dir})
			src := two(h, false)
			if tc.single {
				src = &export.Source{
					Ref:       h.Ref(h.Ref(nil, exporttest.Files{"a": "1", "gone": "1"}), exporttest.Files{"dir/b": "2", "gone": "-", "link": "->a"}),
					Platforms: src.Platforms[:1],
				}
			}
			if err := run(t, c, false, src, append(tc.attrs, "source-date-epoch=1000")...); err != nil {
				t.Fatal(err)
			}
			got := list(t, dir)
			if tc.want != nil && !slices.Equal(got, tc.want) {
				t.Errorf("client has\n%q, want\n%q", got, tc.want)
			}
			for _, p := range got {
				name, _, _ := strings.Cut(p, " ")
				if fi, err := os.Lstat(filepath.Join(dir, name)); err != nil || !fi.ModTime().Equal(time.Unix(1000, 0)) {
					t.Errorf("%s: %v, %v", name, fi.ModTime(), err)
				}
			}
			if md := c.Headers(); len(md) != tc.transfers || md[0].Get("buildkit-attachable-exporter-id")[0] != "3" ||
				(len(md[0].Get("buildkit-exporter-multi-platform")) > 0) != strings.Contains(tc.name, "delete") {
				t.Errorf("transfers: %v", md)
			}
			for _, s := range tc.statuses {
				if !slices.Contains(c.Env.Completed(), s) {
					t.Errorf("no status %q in %q", s, c.Env.Completed())
				}
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	h := exporttest.NewHost(t)
	for _, asTar := range []bool{false, true} {
		c := exporttest.NewClient(t, exporttest.ClientConfig{Dir: t.TempDir()})
		err := run(t, c, asTar, two(h, true), "platform-split=false")
		if want := "cannot overwrite bin/x from linux/amd64 with linux/arm64 when split option is disabled"; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("tar %v: %v", asTar, err)
		}
		if len(c.Headers()) > 0 {
			t.Error("something was sent")
		}
	}
}

// dump describes a tar, one entry a line.
func dump(t *testing.T, data []byte) []string {
	t.Helper()
	var out []string
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%c %o %s", h.Typeflag, h.Mode, h.Name)
		if h.Linkname != "" {
			line += " -> " + h.Linkname
		}
		if len(body) > 0 {
			line += " " + string(body)
		}
		if v := h.PAXRecords["SCHILY.xattr.user.note"]; v != "" {
			line += " note " + v
		}
		out = append(out, line)
	}
}

func TestTar(t *testing.T) {
	h := exporttest.NewHost(t)
	c := exporttest.NewClient(t, exporttest.ClientConfig{})
	single := &export.Source{Ref: h.Ref(nil, exporttest.Files{"a/b": "1", "a-b": "2", "a/c": "=a/b", "l": "->/etc"})}
	for range 2 {
		if err := run(t, c, true, single); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(c.Streams()[0], c.Streams()[1]) {
		t.Error("equal results give different tars")
	}
	want := []string{"5 755 a/", "0 644 a/b 1", "1 644 a/c -> a/b", "0 644 a-b 2", "2 777 l -> /etc"}
	if got := dump(t, c.Streams()[0]); !slices.Equal(got, want) {
		t.Errorf("tar has\n%q, want\n%q", got, want)
	}
	if err := run(t, c, true, two(h, false)); err != nil {
		t.Fatal(err)
	}
	want = []string{
		"5 755 linux_amd64/", "5 755 linux_amd64/bin/", "0 644 linux_amd64/bin/amd 1", "1 644 linux_amd64/bin/l1 -> linux_amd64/bin/amd",
		"5 755 linux_arm64/", "5 755 linux_arm64/bin/", "0 644 linux_arm64/bin/arm 2", "1 644 linux_arm64/bin/l2 -> linux_arm64/bin/arm",
	}
	if got := dump(t, c.Streams()[2]); !slices.Equal(got, want) {
		t.Errorf("tar has\n%q, want\n%q", got, want)
	}
	if !c.Env.Saw("sending tarball") {
		t.Errorf("statuses are %q", c.Env.Completed())
	}
	if err := run(t, c, true, &export.Source{}); err != nil || len(dump(t, c.Streams()[3])) != 0 {
		t.Errorf("an empty result: %v", err)
	}
}

func TestRefused(t *testing.T) {
	c := exporttest.NewClient(t, exporttest.ClientConfig{Dir: t.TempDir()})
	for attrs, want := range map[string]string{
		"platform-split=x":    "non-bool value specified for platform-split",
		"mode=move":           `invalid local exporter mode "move"`,
		"source-date-epoch=x": "invalid source-date-epoch",
	} {
		if err := run(t, c, false, &export.Source{}, attrs); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", attrs, err)
		}
	}
}

func TestStatements(t *testing.T) {
	h := exporttest.NewHost(t)
	say := func(path string, inline bool) export.Attestation {
		return export.Attestation{
			PredicateType: "x", Path: path, InlineOnly: inline, Data: func(context.Context, []ocispecs.Descriptor) ([]byte, error) { return []byte("{}"), nil },
		}
	}
	src := two(h, false)
	src.Attestations = map[string][]export.Attestation{
		"linux/amd64": {say("p.json", false), say("inline.json", true)}, "linux/arm64": {say("dir/p.json", false)},
	}
	for split, want := range map[string][]string{
		"true":  {"linux_amd64/a-p.json", "linux_arm64/a-p.json"},
		"false": {"a-p.linux_amd64.json", "a-p.linux_arm64.json"},
	} {
		dir := t.TempDir()
		c := exporttest.NewClient(t, exporttest.ClientConfig{Dir: dir})
		if err := run(t, c, false, src, "platform-split="+split, "attestation-prefix=a-", "source-date-epoch=1000"); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range list(t, dir) {
			name, text, _ := strings.Cut(line, " ")
			if !strings.HasSuffix(name, ".json") {
				continue
			}
			got = append(got, name)
			path := filepath.Join(dir, name)
			if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 || !fi.ModTime().Equal(time.Unix(1000, 0)) {
				t.Errorf("%s: %v, %v", name, fi, err)
			}
			if !strings.Contains(text, "\n  \"predicateType\": \"x\"") || !strings.Contains(text, `"name": "bin/a`) {
				t.Errorf("%s is %s", name, text)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("statements are %q, want %q", got, want)
		}
	}
	for attr, want := range map[string]string{
		"attestation-prefix=../": `attestation file name "../p.json"`,
		"attestation-prefix=":    "duplicate attestation path name p.json",
	} {
		bad := *src
		bad.Attestations = map[string][]export.Attestation{"linux/amd64": {say("p.json", false), say("p.json", false)}}
		c := exporttest.NewClient(t, exporttest.ClientConfig{Dir: t.TempDir()})
		if err := run(t, c, false, &bad, attr); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", attr, err)
		}
	}
}
