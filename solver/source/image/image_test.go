package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/registry"
	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// push pushes an image and returns its reference.
func push(t testing.TB, s *fixtures.Server, name string, image fixtures.Image) string {
	t.Helper()
	out, err := s.Push(t.Context(), name, "latest", image)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPull(t *testing.T) {
	s := fixtures.Registry(t)
	img := layers(t, "zero", "one", "two")
	name := push(t, s, "lib/three", img)
	h := newHost(t, registry.Config{})
	in := h.open(name, map[string]string{"image.recordtype": "frontend"}, nil)
	e := &env{}
	k, err := in.Key(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	r, err := in.Fetch(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	h.has(r, "file0", "zero")
	h.has(r, "file2", "two")
	if i := r.Info(); i.Description != "pulled from "+name || i.RecordType != "frontend" {
		t.Errorf("described as %+v", i)
	}
	meta, err := h.source.Resolve(t.Context(), e, source.Identifier{Ref: name}, source.ResolveOptions{})
	if err != nil || !bytes.Contains(meta.Image.Config, []byte(img.Layers[0].DiffID)) {
		t.Fatalf("%+v, %v", meta, err)
	}
	p := fixtures.Native()
	want := digest.FromString(fmt.Sprintf(`{"Digest":%q,"OS":%q,"Arch":%q}`, meta.Image.Digest, p.OS, p.Architecture)).String()
	if k.Definition != want || k.Volatile {
		t.Errorf("key %+v, want definition %s", k, want)
	}
	seen := map[string]bool{}
	for _, ev := range e.events {
		seen[ev.ID] = seen[ev.ID] || ev.Completed != nil
	}
	for _, id := range []string{"resolve " + name, img.Layers[1].Descriptor.Digest.String(), "extracting " + img.Layers[2].Descriptor.Digest.String()} {
		if !seen[id] {
			t.Errorf("no completed status %q in %v", id, seen)
		}
	}
	info, err := h.content.Info(h.ctx(), img.Layers[0].Descriptor.Digest)
	if err != nil || info.Labels["containerd.io/distribution.source.127.0.0.1"] != "lib/three" {
		t.Errorf("labels %v, %v", info.Labels, err)
	}
	if n, ingests := h.blobs(); n != 5 || ingests != 0 {
		t.Errorf("%d blobs, %d ingests", n, ingests)
	}
	h.release(r)

	limited := h.open(name, map[string]string{"image.layerlimit": "2"}, nil)
	k2, err := limited.Key(t.Context(), e)
	if err != nil || k2.Content == k.Content || k2.Definition == k.Definition {
		t.Errorf("limited key %+v, %v", k2, err)
	}
	if r, err = limited.Fetch(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Stat(t.Context(), "file2"); !errdefs.IsNotFound(err) && err == nil {
		t.Error("a layer above the limit is there")
	}
	h.release(r)
	_, _, err = h.pull(name, map[string]string{"image.layerlimit": "4"})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "layer limit 4 is greater than the number of layers in the image 3") {
		t.Errorf("limit: %v", err)
	}
	_, _, err = h.pull(name, map[string]string{"image.checksum": digest.FromString("x").String()})
	if err == nil || !strings.Contains(err.Error(), "does not match expected checksum") {
		t.Errorf("checksum: %v", err)
	}
}

func TestOpen(t *testing.T) {
	h := newHost(t, registry.Config{})
	for _, tc := range []struct{ ref, attr, value, want string }{
		{"UPPER", "", "", "UPPER"},
		{"x@sha256:12", "", "", "x@sha256:12"},
		{"x", attrMode, "maybe", "invalid resolvemode: maybe"},
		{"x", attrRecordType, "odd", attrRecordType},
		{"x", attrLimit, "0", attrLimit},
		{"x", attrLimit, "many", attrLimit},
		{"x", attrChecksum, "sha256:0", attrChecksum},
	} {
		_, err := h.source.Open(t.Context(), source.Identifier{Ref: tc.ref, Attrs: map[string]string{tc.attr: tc.value}})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	p, err := h.source.open(source.Identifier{Ref: "alpine"})
	if err != nil || p.spec.Name != "docker.io/library/alpine:latest" || p.spec.LocalName != p.spec.Name {
		t.Errorf("normalised to %+v, %v", p.spec, err)
	}
}

// TestOffline checks that an image that is there by digest needs no network,
// also after a collection, and that the ref keeps its documents.
func TestOffline(t *testing.T) {
	s := fixtures.Registry(t)
	name := push(t, s, "lib/small", layers(t, "zero", "one"))
	h := newHost(t, registry.Config{})
	_, r, err := h.pull(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.refs.Keep(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	meta, err := h.source.Resolve(t.Context(), &env{}, source.Identifier{Ref: name}, source.ResolveOptions{NoConfig: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.source.Forget(h.ctx()); err != nil {
		t.Fatal(err)
	}
	if n, _ := h.blobs(); n != 4 {
		t.Fatalf("%d blobs left, want 4", n)
	}
	other := "127.0.0.1:1/somebody/else@" + meta.Image.Digest.String()
	if _, _, err := h.pull(other, nil); err == nil {
		t.Error("pulled from a repository that does not have it")
	}
	_, again, err := h.pull(name+"@"+meta.Image.Digest.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	h.has(again, "file1", "one")
	h.release(again)
	h.release(r)
	if _, _, err := h.pull(name, nil); err == nil || !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("by tag without network: %v", err)
	}
}

// TestForget checks that nothing stays behind a pruned image, and that leases
// in use stay until they are not.
func TestForget(t *testing.T) {
	s := fixtures.Registry(t)
	name := push(t, s, "lib/small", layers(t, "zero"))
	h := newHost(t, registry.Config{})
	if _, err := h.source.Resolve(t.Context(), &env{}, source.Identifier{Ref: name}, source.ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	_, _, done, err := h.source.puller.leased(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.source.Forget(h.ctx()); err != nil {
		t.Fatal(err)
	}
	if n, _ := h.blobs(); n == 0 {
		t.Error("blobs went while somebody was reading")
	}
	_, r, err := h.pull(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	done()
	h.release(r)
	if err := h.source.Forget(h.ctx()); err != nil {
		t.Fatal(err)
	}
	if n, _ := h.blobs(); n != 0 {
		t.Errorf("%d blobs left", n)
	}
}

func TestLocal(t *testing.T) {
	s := fixtures.Registry(t)
	old := push(t, s, "lib/small", layers(t, "old"))
	h := newHost(t, registry.Config{})
	_, r, err := h.pull(old, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.release(r)
	meta, err := h.source.Resolve(t.Context(), &env{}, source.Identifier{Ref: old}, source.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := h.content.Info(h.ctx(), meta.Image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	target := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: info.Digest, Size: info.Size}
	if _, err := h.images.Create(h.ctx(), images.Image{Name: old, Target: target}); err != nil {
		t.Fatal(err)
	}
	push(t, s, "lib/small", layers(t, "new"))
	for mode, want := range map[string]string{"local": "old", "default": "new", "pull": "new", "": "new"} {
		_, r, err := h.pull(old, map[string]string{"image.resolvemode": mode})
		if err != nil {
			t.Fatal(err)
		}
		h.has(r, "file0", want)
		h.release(r)
	}
	// Not for this platform: local is not good enough.
	other := ocispecs.Platform{OS: "linux", Architecture: "s390x"}
	k, err := h.open(old, map[string]string{"image.resolvemode": "local"}, &other).Key(t.Context(), &env{})
	fresh, err2 := h.open(old, map[string]string{"image.resolvemode": "pull"}, &other).Key(t.Context(), &env{})
	if err != nil || err2 != nil || k != fresh {
		t.Errorf("other platform: %v %v, %v %v", k, err, fresh, err2)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[string]bool{"local": true, "default": true, "pull": false} {
		_, err := h.open(old, map[string]string{"image.resolvemode": mode}, nil).Key(t.Context(), &env{})
		if (err == nil) != ok {
			t.Errorf("mode %s without network: %v", mode, err)
		}
	}
}

func TestPlatforms(t *testing.T) {
	s := fixtures.Registry(t)
	var all []fixtures.Image
	for i, p := range []ocispecs.Platform{{OS: "linux", Architecture: "arm64", Variant: "v8"}, {OS: "linux", Architecture: "amd64"},
		{OS: "linux", Architecture: "arm", Variant: "v6"}, {OS: "linux", Architecture: "arm", Variant: "v7"}} {
		img := layers(t, fmt.Sprint(i))
		img.Platform = p
		all = append(all, img)
	}
	name, err := s.PushIndex(t.Context(), "lib/multi", "latest", all...)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, registry.Config{})
	for text, want := range map[string]string{"amd64": "1", "arm64": "0", "arm/v7": "3", "arm/v6": "2", "s390x": ""} {
		arch, variant, _ := strings.Cut(text, "/")
		in := h.open(name, nil, &ocispecs.Platform{OS: "linux", Architecture: arch, Variant: variant})
		r, err := in.Fetch(t.Context(), &env{})
		if want == "" {
			if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "no match for platform in manifest") || !strings.Contains(err.Error(), "linux/arm/v7") {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		h.has(r, "file0", want)
		h.release(r)
	}
}

// TestFaults pulls through a registry that breaks layers.
func TestFaults(t *testing.T) {
	s := fixtures.Registry(t)
	body := strings.Repeat("0123456789abcdef", 1<<12)
	img := layers(t, "zero", body)
	push(t, s, "lib/small", img)
	bad := img.Layers[1].Descriptor.Digest.String()
	var faults, ranges atomic.Int32
	flip := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "blobs/"+bad) {
			return false
		}
		faults.Add(1)
		w.Write(make([]byte, img.Layers[1].Descriptor.Size))
		return true
	}
	t.Run("corrupt", func(t *testing.T) {
		addr := front(t, s, flip)
		h := newHost(t, registry.Config{})
		_, _, err := h.pull(addr+"/lib/small:latest", nil)
		if err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), addr) ||
			!strings.Contains(err.Error(), "content is not what its digest says") {
			t.Errorf("error %v", err)
		}
		h.noIngests()
	})
	t.Run("corrupt mirror", func(t *testing.T) {
		faults.Store(0)
		addr := front(t, s, flip)
		h := newHost(t, registry.Config{Hosts: map[string]registry.HostConfig{s.Addr: {Mirrors: []string{addr}}}})
		_, r, err := h.pull(s.Addr+"/lib/small:latest", nil)
		if err != nil || faults.Load() == 0 {
			t.Fatalf("%v after %d faults", err, faults.Load())
		}
		h.has(r, "file0", "zero")
		h.release(r)
	})
	t.Run("cut", func(t *testing.T) {
		addr := front(t, s, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "blobs/"+bad) {
				return false
			}
			if r.Header.Get("Range") != "" {
				ranges.Add(1)
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(img.Layers[1].Descriptor.Size))
			resp, err := http.Get(s.URL + r.URL.Path)
			if err != nil {
				panic(err)
			}
			defer resp.Body.Close()
			io.CopyN(w, resp.Body, 100)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		h := newHost(t, registry.Config{})
		_, r, err := h.pull(addr+"/lib/small:latest", nil)
		if err != nil || ranges.Load() != 1 {
			t.Fatalf("%v, resumed %d times", err, ranges.Load())
		}
		h.release(r)
	})
	t.Run("cancelled", func(t *testing.T) {
		started := make(chan struct{})
		addr := front(t, s, func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "blobs/"+bad) {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(img.Layers[1].Descriptor.Size))
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			close(started)
			<-r.Context().Done()
			return true
		})
		h := newHost(t, registry.Config{})
		in := h.open(addr+"/lib/small:latest", nil, nil)
		if _, err := in.Key(t.Context(), &env{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := errors.New("enough")
		go func() { <-started; cancel(stop) }()
		if _, err := in.Fetch(ctx, &env{}); !errors.Is(err, stop) && !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		h.noIngests()
	})
}
