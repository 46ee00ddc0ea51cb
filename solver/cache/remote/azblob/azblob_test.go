package azblob

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/test/clouds"
)

func TestStore(t *testing.T) {
	s := clouds.Azure(t)
	attrs := s.Attrs()
	maps.Copy(attrs, map[string]string{"prefix": "p", "name": "a;b", "container": "c"})
	reading, err := place(attrs, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reading.Store.Get(t.Context(), reading.Manifests[0]); !errdefs.IsNotFound(err) {
		t.Errorf("a container that is not there: %v", err)
	}
	writing, err := place(attrs, true)
	if err != nil {
		t.Fatal(err)
	}
	small, large := "small", strings.Repeat("0123456789abcdef", blockSize/16+1)
	keys := map[string]string{writing.Manifests[1]: small, writing.Blob(digest.FromString("x")): large}
	for key, data := range keys {
		if err := writing.Store.Put(t.Context(), key, io.NewSectionReader(strings.NewReader(data), 0, int64(len(data)))); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Made("c"); n != 1 {
		t.Errorf("the container was created %d times", n)
	}
	if got := s.Keys(); !slices.Equal(got, []string{"c/p/blobs/" + digest.FromString("x").String(), "c/p/manifests/b"}) {
		t.Errorf("written: %q", got)
	}
	rc, err := reading.Store.Get(t.Context(), reading.Blob(digest.FromString("x")))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(rc)
	_ = rc.Close()
	if err != nil || string(whole) != large {
		t.Errorf("read %d bytes, %v", len(whole), err)
	}
	rc, err = reading.Store.Get(t.Context(), reading.Manifests[1])
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(rc)
	_ = rc.Close()
	if err != nil || string(data) != small {
		t.Errorf("read %q, %v", data, err)
	}
	if at, err := reading.Store.Stat(t.Context(), reading.Manifests[1]); err != nil || at.Unix() != 1e9 {
		t.Errorf("written at %s, %v", at, err)
	}
	if _, err := reading.Store.Stat(t.Context(), "p/blobs/none"); !errdefs.IsNotFound(err) {
		t.Errorf("a blob that is not there: %v", err)
	}
}

func TestParse(t *testing.T) {
	c, err := parse(map[string]string{"account_url": "https://acc.blob.core.windows.net"})
	if err != nil || c.account != "acc" || c.container != "buildkit-cache" || c.manifests != "manifests" {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, attrs := range []map[string]string{{}, {"account_url": "%"}, {"account_url": "/path"}} {
		if _, err := parse(attrs); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%v: got %v", attrs, err)
		}
	}
}
