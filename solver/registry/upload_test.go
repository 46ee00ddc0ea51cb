package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/test/fixtures"
)

// drop ends the connection of a request that was read in part.
func drop(w http.ResponseWriter, r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, 1000)
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		conn.Close()
	}
}

// TestResumePush cuts off uploads at a front that, as most do, passes on only
// what it has whole. Pieces that arrived are not sent again, whatever else
// happens, unless the registry has forgotten them.
func TestResumePush(t *testing.T) {
	const piece = 1 << 20
	for name, tc := range map[string]struct {
		// fault answers the n-th piece and reports whether it did.
		fault func(w http.ResponseWriter, r *http.Request, n int) bool
		// want are the ranges that reached the registry; bad is part of the
		// error if there is one.
		want []string
		bad  string
	}{
		"cut off": {
			fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
				if n == 2 || n == 4 {
					drop(w, r)
				}
				return n == 2 || n == 4
			},
			want: []string{"0-1048575", "1048576-2097151", "2097152-3145727", "3145728-3670015"},
		},
		"busy": {
			fault: func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n == 2 {
					w.Header().Set("Retry-After", "1")
					w.WriteHeader(http.StatusTooManyRequests)
				}
				return n == 2
			},
			want: []string{"0-1048575", "1048576-2097151", "2097152-3145727", "3145728-3670015"},
		},
		"forgotten": {
			fault: func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n == 2 {
					w.WriteHeader(http.StatusNotFound)
				}
				return n == 2
			},
			want: []string{"0-1048575", "0-1048575", "1048576-2097151", "2097152-3145727", "3145728-3670015"},
		},
		"refused": {
			fault: func(w http.ResponseWriter, _ *http.Request, n int) bool {
				if n == 2 {
					w.WriteHeader(http.StatusForbidden)
				}
				return n == 2
			},
			want: []string{"0-1048575"},
			bad:  pushDenied,
		},
		"dead": {
			fault: func(w http.ResponseWriter, r *http.Request, n int) bool {
				if n > 1 {
					drop(w, r)
				}
				return n > 1
			},
			want: []string{"0-1048575"},
			bad:  "Patch \"http",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var arrived []string
			pieces := 0
			f := newFront(t, fixtures.Registry(t), nil, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/blobs/uploads/") && r.ContentLength > 0 {
					drop(w, r)
					return true
				}
				if r.Method != http.MethodPatch {
					return false
				}
				mu.Lock()
				defer mu.Unlock()
				if pieces++; tc.fault(w, r, pieces) {
					return true
				}
				arrived = append(arrived, r.Header.Get("Content-Range"))
				return false
			})
			data := bytes.Repeat([]byte("0123456789abcdef"), (3*piece+piece/2)/16)
			desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
			c := newClient(t, Config{})
			c.pieceSize = piece
			repo := repository(t, c, f.addr+"/lib/resume:1")
			err := repo.Push(t.Context(), desc, blobs{desc.Digest: data}, nil)
			mu.Lock()
			defer mu.Unlock()
			if tc.bad == "" && err != nil || tc.bad != "" && (err == nil || !strings.Contains(err.Error(), tc.bad) || !strings.Contains(err.Error(), repo.spec.Locator)) {
				t.Errorf("push: %v", err)
			}
			if !slices.Equal(arrived, tc.want) {
				t.Errorf("arrived: %q", arrived)
			}
			rc, _, err := repo.Blob(t.Context(), desc.Digest)
			if err == nil {
				defer rc.Close()
			}
			if tc.bad != "" {
				if err == nil {
					t.Error("half a blob is there")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestReceived reads what registries say of an upload.
func TestReceived(t *testing.T) {
	for text, want := range map[string]string{
		"0-9": "10 true", "bytes=0-9": "10 true", "0-0": "0 false", "": "0 false", "5-9": "0 false", "0-x": "0 false", "0--5": "0 false",
	} {
		n, ok := received(&http.Response{Header: http.Header{"Range": {text}}, Request: &http.Request{Method: http.MethodGet}})
		if got := fmt.Sprint(n, ok); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestPushBusy: a registry that asks for a pause gets it, also from requests
// with bodies, and one that asks for a long one does not.
func TestPushBusy(t *testing.T) {
	data := []byte("small")
	desc := ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	for name, tc := range map[string]struct {
		after  string
		busy   int
		pauses string
		ok     bool
	}{
		"a while":  {"7", 2, "[7s 7s]", true},
		"too long": {"3600", 100, "[]", false},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			left, pauses := tc.busy, []time.Duration{}
			f := newFront(t, fixtures.Registry(t), nil, func(w http.ResponseWriter, r *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if r.Method != http.MethodPut || left == 0 {
					return false
				}
				left--
				w.Header().Set("Retry-After", tc.after)
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			})
			c := newClient(t, Config{})
			c.sleep = func(ctx context.Context, d time.Duration) error {
				mu.Lock()
				defer mu.Unlock()
				pauses = append(pauses, d)
				return ctx.Err()
			}
			err := repository(t, c, f.addr+"/lib/busy:1").Push(t.Context(), desc, blobs{desc.Digest: data}, nil)
			if (err == nil) != tc.ok || fmt.Sprint(pauses) != tc.pauses {
				t.Errorf("push: %v, pauses %v", err, pauses)
			}
		})
	}
}
