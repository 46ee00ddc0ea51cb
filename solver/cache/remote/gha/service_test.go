package gha

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// service stands in for GitHub's: keys are written once, reserved first and
// committed with their size, and read by prefix, the newest first. The tests
// can only be as true as this is to the service; it follows what clients of
// both versions send.
type service struct {
	t       *testing.T
	address string

	mu      sync.Mutex
	entries []*entry
}

type entry struct {
	key       string
	data      []byte
	committed bool
}

// newService returns a running service.
func newService(t *testing.T) *service {
	s := &service{t: t}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.address = srv.URL
	return s
}

func (s *service) find(key string) (int, *entry) {
	for i := len(s.entries) - 1; i >= 0; i-- {
		if e := s.entries[i]; e.committed && strings.HasPrefix(e.key, key) {
			return i, e
		}
	}
	return 0, nil
}

// reserve returns the number of a new entry; -1 if the key is taken.
func (s *service) reserve(key string) int {
	for _, e := range s.entries {
		if e.key == key {
			return -1
		}
	}
	s.entries = append(s.entries, &entry{key: key})
	return len(s.entries) - 1
}

// ServeHTTP answers both versions, and the blob storage behind the second.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if v1, ok := strings.CutPrefix(r.URL.Path, "/_apis/artifactcache/"); ok {
		s.version1(w, r, v1, body)
		return
	}
	if v2, ok := strings.CutPrefix(r.URL.Path, "/twirp/github.actions.results.api.v1.CacheService/"); ok {
		s.version2(w, v2, body)
		return
	}
	s.storage(w, r, body)
}

func (s *service) version1(w http.ResponseWriter, r *http.Request, path string, body []byte) {
	id := strings.TrimPrefix(path, "caches/")
	switch {
	case path == "cache":
		i, e := s.find(r.URL.Query().Get("keys"))
		if e == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.answer(w, map[string]any{"cacheKey": e.key, "archiveLocation": s.address + "/blob/" + strconv.Itoa(i)})
	case path == "caches":
		var req struct{ Key string }
		s.decode(body, &req)
		i := s.reserve(req.Key)
		if i < 0 {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"exists","typeKey":"ArtifactCacheItemAlreadyExistsException"}`)
			return
		}
		s.answer(w, map[string]any{"cacheId": i + 1})
	case r.Method == http.MethodPatch:
		n, _ := strconv.Atoi(id)
		var from, to int
		_, _ = fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/*", &from, &to)
		e := s.entries[n-1]
		if len(e.data) < to+1 {
			e.data = append(e.data, make([]byte, to+1-len(e.data))...)
		}
		copy(e.data[from:], body)
	default:
		n, _ := strconv.Atoi(id)
		s.entries[n-1].committed = true
	}
}

func (s *service) version2(w http.ResponseWriter, method string, body []byte) {
	var req struct{ Key string }
	s.decode(body, &req)
	switch method {
	case "CreateCacheEntry":
		i := s.reserve(req.Key)
		if i < 0 {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"code":"already_exists","msg":"cache entry with the same key already exists"}`)
			return
		}
		s.answer(w, map[string]any{"ok": true, "signed_upload_url": s.address + "/blob/" + strconv.Itoa(i)})
	case "FinalizeCacheEntryUpload":
		for _, e := range s.entries {
			e.committed = e.committed || e.key == req.Key
		}
		s.answer(w, map[string]any{"ok": true, "entry_id": "1"})
	case "GetCacheEntryDownloadURL":
		i, e := s.find(req.Key)
		if e == nil {
			s.answer(w, map[string]any{"ok": false})
			return
		}
		s.answer(w, map[string]any{"ok": true, "matched_key": e.key, "signed_download_url": s.address + "/blob/" + strconv.Itoa(i)})
	}
}

// storage has the bytes: written at once or in blocks, read from an offset.
func (s *service) storage(w http.ResponseWriter, r *http.Request, body []byte) {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/blob/"))
	if err != nil || n >= len(s.entries) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	e := s.entries[n]
	w.Header().Set("x-ms-request-id", "1")
	switch {
	case r.Method == http.MethodPut && r.URL.Query().Get("comp") == "blocklist":
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		e.data = append(e.data, body...)
		w.WriteHeader(http.StatusCreated)
	default:
		var from int
		span := r.Header.Get("Range")
		if span == "" {
			span = r.Header.Get("x-ms-range")
		}
		_, _ = fmt.Sscanf(span, "bytes=%d-", &from)
		if span != "" {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(e.data[from:])
	}
}

func (s *service) decode(body []byte, v any) {
	if err := json.Unmarshal(body, v); err != nil {
		s.t.Errorf("request %q: %v", body, err)
	}
}

func (s *service) answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.t.Error(err)
	}
}
