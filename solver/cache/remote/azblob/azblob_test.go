package azblob

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// service speaks as much of the protocol as is used here: containers, and blobs
// written at once or in blocks.
type service struct {
	mu         sync.Mutex
	containers map[string]bool
	blobs      map[string]string
	blocks     map[string]string
	created    int
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey account:") {
		s.fail(w, http.StatusForbidden, "AuthenticationFailed")
		return
	}
	q, path := r.URL.Query(), strings.TrimPrefix(r.URL.Path, "/")
	name, _, _ := strings.Cut(path, "/")
	body, _ := io.ReadAll(r.Body)
	isContainer := q.Get("restype") == "container"
	switch {
	case isContainer && r.Method == http.MethodPut:
		s.created++
		s.containers[name] = true
		w.WriteHeader(http.StatusCreated)
	case !s.containers[name]:
		s.fail(w, http.StatusNotFound, "ContainerNotFound")
	case isContainer:
	case r.Method == http.MethodPut && q.Get("comp") == "block":
		s.blocks[path] += string(body)
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && q.Get("comp") == "blocklist":
		s.blobs[path] = s.blocks[path]
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		s.blobs[path] = string(body)
		w.WriteHeader(http.StatusCreated)
	default:
		data, ok := s.blobs[path]
		if !ok {
			s.fail(w, http.StatusNotFound, "BlobNotFound")
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Header().Set("Last-Modified", time.Unix(1e9, 0).UTC().Format(http.TimeFormat))
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, data)
		}
	}
}

func (s *service) fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
}

func TestStore(t *testing.T) {
	s := &service{containers: map[string]bool{}, blobs: map[string]string{}, blocks: map[string]string{}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	attrs := map[string]string{
		"account_url": srv.URL, "account_name": "account", "secret_access_key": "c2VjcmV0", "prefix": "p", "name": "a;b", "container": "c",
	}
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
	if s.created != 1 {
		t.Errorf("the container was created %d times", s.created)
	}
	for _, key := range []string{"c/p/manifests/b", "c/p/blobs/" + digest.FromString("x").String()} {
		if _, ok := s.blobs[key]; !ok {
			t.Errorf("%s was not written", key)
		}
	}
	rc, err := reading.Store.Get(t.Context(), reading.Manifests[1])
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
