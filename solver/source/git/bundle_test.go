package git

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/source/blob"
	"github.com/kilnbuild/kiln/solver/source/sourcetest"
)

// withBundles gives a fixture a client with a layout of bundles.
func (f *fixture) withBundles(bundles ...string) {
	f.t.Helper()
	store := map[digest.Digest]string{}
	for _, b := range bundles {
		store[digest.FromString(b)] = b
	}
	c := &sourcetest.Client{Layouts: map[string]map[digest.Digest]string{"store": store}}
	c.Open(f.t, f.Sessions, "client")
	f.env.IDs = []string{"client"}
	f.source.cfg.Blobs = blob.New(blob.Config{Sessions: f.Sessions, Refs: f.Refs})
}

func locator(bundle string) string {
	return "oci-layout+blob://any@" + digest.FromString(bundle).String()
}

func TestBundle(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			r := s.repo("r", "--object-format="+format)
			first := r.commit(map[string]string{"a": "one"})
			r.git("tag", "-a", "v1", "-m", "tag")
			second := r.commit(map[string]string{"b": "two"})
			f := newFixture(t)
			key, packed, err := f.get(r.url, "#main", "git.checkoutbundle", "true")
			if err != nil || key != second+"(bundle)" {
				t.Fatal(key, err)
			}
			file := filepath.Join(f.Dir(t, packed), bundleFile)
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// Whole, and with the name that was asked for.
			cmd := exec.Command("git", "clone", "--quiet", "--branch=main", file, t.TempDir())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("clone: %v\n%s", err, out)
			}
			tagged, err := os.ReadFile(filepath.Join(f.dir(r.url, "#v1", "git.checkoutbundle", "true"), bundleFile))
			if err != nil {
				t.Fatal(err)
			}
			s.Close()

			f = newFixture(t)
			f.withBundles(string(data), string(tagged))
			attrs := []string{"git.bundle", locator(string(data)), "git.checksum", second, "oci.store", "store"}
			for _, fragment := range []string{"", "#main", "#" + second} {
				equal(t, "checkout of "+fragment, listing(t, f.dir(r.url, fragment, attrs...)), "-rw-r--r-- a \"one\"\n-rw-r--r-- b \"two\"")
			}
			kept := f.dir(r.url, "#main", append(attrs, "git.keepgitdir", "true")...)
			out, err := exec.Command("git", "-C", kept, "rev-parse", "refs/heads/main").Output()
			if err != nil || strings.TrimSpace(string(out)) != second {
				t.Errorf("kept repository: %s, %v", out, err)
			}
			attrs = []string{"git.bundle", locator(string(tagged)), "git.checksum", first, "oci.store", "store"}
			equal(t, "checkout of a tag", listing(t, f.dir(r.url, "#v1", attrs...)), "-rw-r--r-- a \"one\"")
			if _, _, err := f.get(r.url, "#main", attrs...); !errdefs.IsNotFound(err) {
				t.Errorf("reference that the bundle does not have: %v", err)
			}
			attrs[3] = second
			if _, _, err := f.get(r.url, "", attrs...); err == nil || !strings.Contains(err.Error(), "not found in bundle") {
				t.Errorf("commit that the bundle does not have: %v", err)
			}
		})
	}
}

// TestBundleSpoilsNothing has a bundle with a commit that the remote does not
// have: the remote's own mirror must not get it.
func TestBundleSpoilsNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	good, bad := s.repo("good"), s.repo("bad")
	good.commit(map[string]string{"a": "good"})
	commit := bad.commit(map[string]string{"a": "bad"})
	file := filepath.Join(t.TempDir(), "b")
	bad.git("bundle", "create", file, "main")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.withBundles(string(data))
	f.dir(good.url, "", "git.bundle", locator(string(data)), "git.checksum", commit, "oci.store", "store")
	if _, _, err := f.get(good.url, "#"+commit); err == nil {
		t.Error("the remote is said to have a commit of a bundle")
	}
}

func TestBundleIsRefused(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a", 40)
	for name, text := range map[string]string{
		"not a bundle":  "PK\x03\x04",
		"prerequisite":  "# v2 git bundle\n-" + id + " c\n" + id + " refs/heads/main\n\n",
		"filter":        "# v3 git bundle\n@filter=blob:none\n" + id + " refs/heads/main\n\n",
		"odd reference": "# v2 git bundle\n" + id + " refs/../x\n\n",
		"mixed ids":     "# v3 git bundle\n@object-format=sha256\n" + id + " refs/heads/main\n\n",
		"cut":           "# v2 git bundle\n" + id,
		"long line":     "# v2 git bundle\n" + strings.Repeat("x", 2*maxBundleLine),
		"many lines":    "# v2 git bundle\n" + strings.Repeat(id+" refs/heads/main\n", maxBundleLines+1),
		"no objects":    "# v2 git bundle\n" + id + " refs/heads/main\n\n",
	} {
		f := newFixture(t)
		f.withBundles(text)
		_, _, err := f.get("https://127.0.0.1:1/r", "", "git.bundle", locator(text), "git.checksum", id, "oci.store", "store")
		if err == nil || name != "no objects" && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadBundleHeader(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add("# v2 git bundle\n" + id + " refs/heads/main\n\nPACK")
	f.Add("# v3 git bundle\n@object-format=sha256\n" + id + strings.Repeat("b", 24) + " HEAD\n\n")
	f.Add("# v2 git bundle\n-" + id + "\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := readBundleHeader(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return
		}
		for name, id := range h.refs {
			if format(id) != h.format || checkRef(name) != nil {
				t.Errorf("%q is %q", name, id)
			}
		}
	})
}
