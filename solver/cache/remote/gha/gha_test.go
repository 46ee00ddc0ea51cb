package gha

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/cache/remote/bucket"
	"github.com/kilnbuild/kiln/test/clouds"
)

func TestVersions(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			attrs := clouds.Actions(t).Attrs(version)
			attrs["scope"] = "mine"
			e, err := Backend{}.Exporter(t.Context(), attrs, nil)
			if err != nil {
				t.Fatal(err)
			}
			p := e.(*bucket.Exporter).Place
			blob := p.Blob(digest.FromString("x"))
			if _, err := p.Store.Stat(t.Context(), blob); !errdefs.IsNotFound(err) {
				t.Errorf("a blob that is not there: %v", err)
			}
			put := func(key, data string) {
				t.Helper()
				if err := p.Store.Put(t.Context(), key, io.NewSectionReader(strings.NewReader(data), 0, int64(len(data)))); err != nil {
					t.Fatal(err)
				}
			}
			put(blob, "blob")
			put(blob, "blob")
			put(p.Manifests[0], "one")
			put(p.Manifests[0], "two")
			i, err := Backend{}.Importer(t.Context(), attrs, nil)
			if err != nil {
				t.Fatal(err)
			}
			scopes := i.(importer)
			if len(scopes) != 2 || scopes[0].Manifests[0] == scopes[1].Manifests[0] {
				t.Fatalf("importers are %+v", scopes)
			}
			for key, want := range map[string]string{blob: "blob", p.Manifests[0]: "two"} {
				rc, err := scopes[0].Store.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				data, err := io.ReadAll(rc)
				_ = rc.Close()
				if err != nil || string(data) != want {
					t.Errorf("%s is %q, %v, want %q", key, data, err, want)
				}
			}
			if tables, err := scopes[:1].Import(t.Context(), nil); len(tables) != 0 || err != nil {
				t.Errorf("a scope without a cache: %v, %v", tables, err)
			}
		})
	}
}

// TestKeys pins the names that other builders use.
func TestKeys(t *testing.T) {
	c, err := parse(map[string]string{"token": "t", "url": "http://x"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.indexKey("refs/heads/main"), "index-buildkit-1-"+digest.FromString("refs/heads/main").Encoded()[:8]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if c.version != 1 {
		t.Errorf("version is %d", c.version)
	}
}

func TestParseRefuses(t *testing.T) {
	for want, attrs := range map[string]map[string]string{
		"token not set":       {"url": "u"},
		"url not set":         {"token": "secret"},
		"failed to parse api": {"token": "secret", "version": "x"},
		"failed to parse tim": {"token": "secret", "timeout": "x"},
	} {
		_, err := parse(attrs)
		if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: got %v", attrs, err)
		}
	}
	if _, err := (Backend{}).Exporter(t.Context(), map[string]string{"token": "no.jwt.secret", "url": "u"}, nil); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
