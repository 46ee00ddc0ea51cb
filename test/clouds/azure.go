package clouds

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// AzureStore is a blob store with containers that clients make.
type AzureStore struct {
	blobs blockBlobs

	mu sync.Mutex // guards containers
	// containers has how often each was made.
	containers map[string]int
	url        string
}

// Azure starts a blob store without containers.
func Azure(t testing.TB) *AzureStore {
	t.Helper()
	s := &AzureStore{containers: map[string]int{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// Attrs returns the attributes of a cache in the store.
func (s *AzureStore) Attrs() map[string]string {
	return map[string]string{"account_url": s.url, "account_name": "account", "secret_access_key": "c2VjcmV0"}
}

// Made returns how often a container was made.
func (s *AzureStore) Made(container string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[container]
}

// Keys returns what is in the store, sorted: CONTAINER/KEY.
func (s *AzureStore) Keys() []string { return s.blobs.keys() }

// ServeHTTP answers requests that carry a signature of the account.
func (s *AzureStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey account:") {
		refuse(w, http.StatusForbidden, "AuthenticationFailed")
		return
	}
	key := strings.TrimPrefix(r.URL.Path, "/")
	name, _, _ := strings.Cut(key, "/")
	isContainer := r.URL.Query().Get("restype") == "container"
	s.mu.Lock()
	there := s.containers[name] > 0
	if isContainer && r.Method == http.MethodPut && !there {
		s.containers[name]++
	}
	s.mu.Unlock()
	switch {
	case isContainer && r.Method == http.MethodPut && there:
		refuse(w, http.StatusConflict, "ContainerAlreadyExists")
	case isContainer && r.Method == http.MethodPut:
		w.WriteHeader(http.StatusCreated)
	case !there:
		refuse(w, http.StatusNotFound, "ContainerNotFound")
	case isContainer:
	default:
		s.blobs.serve(w, r, key)
	}
}

// refuse answers with an error of the service.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
}

// blockBlobs are blobs that are written at once, or in blocks and then listed.
// The zero value is empty.
type blockBlobs struct {
	mu sync.Mutex // guards all
	// blobs by key, blocks by key and id.
	blobs  map[string][]byte
	blocks map[string]map[string][]byte
}

// written is the time at which all blobs say that they were written.
var written = time.Unix(1e9, 0).UTC()

func (b *blockBlobs) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for k := range b.blobs {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// serve answers a request for one blob.
func (b *blockBlobs) serve(w http.ResponseWriter, r *http.Request, key string) {
	w.Header().Set("x-ms-request-id", "1")
	if r.Method == http.MethodPut {
		b.put(w, r, key)
		return
	}
	b.mu.Lock()
	data, ok := b.blobs[key]
	b.mu.Unlock()
	if !ok {
		refuse(w, http.StatusNotFound, "BlobNotFound")
		return
	}
	if span := r.Header.Get("x-ms-range"); span != "" {
		r.Header.Set("Range", span)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", written, bytes.NewReader(data))
}

// put writes a blob, a block, or a blob of blocks that were written before.
func (b *blockBlobs) put(w http.ResponseWriter, r *http.Request, key string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blobs == nil {
		b.blobs, b.blocks = map[string][]byte{}, map[string]map[string][]byte{}
	}
	q := r.URL.Query()
	switch q.Get("comp") {
	case "block":
		if b.blocks[key] == nil {
			b.blocks[key] = map[string][]byte{}
		}
		b.blocks[key][q.Get("blockid")] = body
	case "blocklist":
		var list struct {
			Latest []string `xml:"Latest"`
		}
		if err := xml.Unmarshal(body, &list); err != nil {
			refuse(w, http.StatusBadRequest, "InvalidXmlDocument")
			return
		}
		var whole []byte
		for _, id := range list.Latest {
			block, ok := b.blocks[key][id]
			if !ok {
				refuse(w, http.StatusBadRequest, "InvalidBlockList")
				return
			}
			whole = append(whole, block...)
		}
		b.blobs[key] = whole
		delete(b.blocks, key)
	default:
		b.blobs[key] = body
	}
	w.WriteHeader(http.StatusCreated)
}
