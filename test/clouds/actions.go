package clouds

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ActionsCache is the cache of GitHub Actions: keys are written once, reserved
// first and committed with their size, and read by prefix, the newest first.
type ActionsCache struct {
	t     testing.TB
	url   string
	blobs blockBlobs

	mu sync.Mutex // guards entries and looks
	// entries in the order in which they were reserved.
	entries []*actionsEntry
	// looks has how often single keys were looked up.
	looks int
}

type actionsEntry struct {
	key string
	// parts of the first version, by their offset.
	data      []byte
	committed bool
}

// Actions starts an empty cache.
func Actions(t testing.TB) *ActionsCache {
	t.Helper()
	s := &ActionsCache{t: t}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// Attrs returns the attributes of a cache, with which clients use version 1 or
// 2 of the protocol.
func (s *ActionsCache) Attrs(version int) map[string]string {
	return map[string]string{"token": ActionsToken(), "url": s.url, "version": strconv.Itoa(version)}
}

// URL is the address, of both versions and of the list of keys.
func (s *ActionsCache) URL() string { return s.url }

// Looks returns how often somebody looked for a key.
func (s *ActionsCache) Looks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// ActionsToken returns a token for the scope "refs/heads/main", to read and
// write, and "refs/heads/base", to read.
func ActionsToken() string {
	encode := base64.RawURLEncoding.EncodeToString
	now := time.Now().Unix()
	access := `[{\"Scope\":\"refs/heads/base\",\"Permission\":1},{\"Scope\":\"refs/heads/main\",\"Permission\":3}]`
	claims := fmt.Sprintf(`{"ac":"%s","nbf":%d,"exp":%d}`, access, now-60, now+3600)
	return encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

// find returns the newest whole entry whose key begins so.
func (s *ActionsCache) find(key string) (int, *actionsEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	for i := len(s.entries) - 1; i >= 0; i-- {
		if e := s.entries[i]; e.committed && strings.HasPrefix(e.key, key) {
			return i, e
		}
	}
	return 0, nil
}

// reserve returns the number of a new entry; -1 if the key is taken.
func (s *ActionsCache) reserve(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.key == key {
			return -1
		}
	}
	s.entries = append(s.entries, &actionsEntry{key: key})
	return len(s.entries) - 1
}

// ServeHTTP answers both versions, the blob storage behind the second, and the
// list of keys.
func (s *ActionsCache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v1, ok := strings.CutPrefix(r.URL.Path, "/_apis/artifactcache/"); ok {
		s.version1(w, r, v1)
		return
	}
	if v2, ok := strings.CutPrefix(r.URL.Path, "/twirp/github.actions.results.api.v1.CacheService/"); ok {
		s.version2(w, r, v2)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/repos/") {
		s.list(w, r)
		return
	}
	s.storage(w, r)
}

func (s *ActionsCache) version1(w http.ResponseWriter, r *http.Request, path string) {
	switch {
	case path == "cache":
		i, e := s.find(r.URL.Query().Get("keys"))
		if e == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.answer(w, map[string]any{"cacheKey": e.key, "archiveLocation": s.url + "/v1blob/" + strconv.Itoa(i)})
	case path == "caches":
		var req struct{ Key string }
		s.decode(r, &req)
		i := s.reserve(req.Key)
		if i < 0 {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"message":"exists","typeKey":"ArtifactCacheItemAlreadyExistsException"}`)
			return
		}
		s.answer(w, map[string]any{"cacheId": i + 1})
	default:
		s.fill(w, r, strings.TrimPrefix(path, "caches/"))
	}
}

// fill takes a part of an entry, or commits it.
func (s *ActionsCache) fill(w http.ResponseWriter, r *http.Request, id string) {
	body, err := io.ReadAll(r.Body)
	n, aerr := strconv.Atoi(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || aerr != nil || n < 1 || n > len(s.entries) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e := s.entries[n-1]
	if r.Method == http.MethodPatch {
		var from, to int
		if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/*", &from, &to); err != nil || to-from+1 != len(body) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		if len(e.data) < to+1 {
			e.data = append(e.data, make([]byte, to+1-len(e.data))...)
		}
		copy(e.data[from:], body)
		return
	}
	var req struct{ Size int }
	if err := json.Unmarshal(body, &req); err != nil || req.Size != len(e.data) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	e.committed = true
}

func (s *ActionsCache) version2(w http.ResponseWriter, r *http.Request, method string) {
	var req struct{ Key string }
	s.decode(r, &req)
	switch method {
	case "CreateCacheEntry":
		i := s.reserve(req.Key)
		if i < 0 {
			w.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(w, `{"code":"already_exists","msg":"cache entry with the same key already exists"}`)
			return
		}
		s.answer(w, map[string]any{"ok": true, "signed_upload_url": s.url + "/blob/" + strconv.Itoa(i)})
	case "FinalizeCacheEntryUpload":
		s.mu.Lock()
		for _, e := range s.entries {
			e.committed = e.committed || e.key == req.Key
		}
		s.mu.Unlock()
		s.answer(w, map[string]any{"ok": true, "entry_id": "1"})
	case "GetCacheEntryDownloadURL":
		i, e := s.find(req.Key)
		if e == nil {
			s.answer(w, map[string]any{"ok": false})
			return
		}
		s.answer(w, map[string]any{"ok": true, "matched_key": e.key, "signed_download_url": s.url + "/blob/" + strconv.Itoa(i)})
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// list tells all keys with a prefix, as the REST interface does.
func (s *ActionsCache) list(w http.ResponseWriter, r *http.Request) {
	type key struct {
		Key     string `json:"key"`
		Ref     string `json:"ref"`
		Version string `json:"version"`
	}
	out := []key{}
	s.mu.Lock()
	for _, e := range s.entries {
		if e.committed && strings.HasPrefix(e.key, r.URL.Query().Get("key")) {
			out = append(out, key{Key: e.key, Ref: r.URL.Query().Get("ref")})
		}
	}
	s.mu.Unlock()
	s.answer(w, map[string]any{"total_count": len(out), "actions_caches": out})
}

// storage has the bytes: the first version's here, the second's in blocks.
func (s *ActionsCache) storage(w http.ResponseWriter, r *http.Request) {
	id, v1 := strings.CutPrefix(r.URL.Path, "/v1blob/")
	if !v1 {
		s.blobs.serve(w, r, r.URL.Path)
		return
	}
	n, err := strconv.Atoi(id)
	s.mu.Lock()
	var data []byte
	if err == nil && n >= 0 && n < len(s.entries) {
		data = s.entries[n].data
	}
	s.mu.Unlock()
	if data == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, "blob", written, bytes.NewReader(data))
}

func (s *ActionsCache) decode(r *http.Request, v any) {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		s.t.Errorf("request %s: %v", r.URL, err)
	}
}

func (s *ActionsCache) answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.t.Error(err)
	}
}
