package http

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver/source"
	"github.com/kilnbuild/kiln/solver/source/sourcetest"
)

// methods notes how a server was asked.
type methods struct {
	mu   sync.Mutex
	list []string
}

func (m *methods) add(r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, r.Method+" "+r.Header.Get("Accept-Encoding"))
}

// text is what a server says now.
type text struct{ v atomic.Value }

func newText(s string) *text {
	t := &text{}
	t.set(s)
	return t
}

func (t *text) get() string  { s, _ := t.v.Load().(string); return s }
func (t *text) set(s string) { t.v.Store(s) }

func TestAskedByHeadFirst(t *testing.T) {
	var asked methods
	version := newText("1")
	s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		asked.add(r)
		w.Header().Set("ETag", `"`+version.get()+`"`)
		fmt.Fprint(w, version.get())
	})
	f := newFixture(t)
	for range 2 {
		if _, text, _ := f.read(s.URL + "/f"); text != "1" {
			t.Fatal(text)
		}
	}
	version.set("2")
	if _, text, _ := f.read(s.URL + "/f"); text != "2" {
		t.Fatal(text)
	}
	if want := []string{"GET gzip", "HEAD gzip", "HEAD gzip", "GET gzip"}; !slices.Equal(asked.list, want) {
		t.Errorf("asked by %q, want %q", asked.list, want)
	}
}

// TestHeadRefused has a server that knows no HEAD.
func TestHeadRefused(t *testing.T) {
	s := serve(t, func(_ *server, w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, "x")
	})
	f := newFixture(t)
	_, first, err := f.get(s.URL + "/f")
	if err != nil {
		t.Fatal(err)
	}
	f.Dir(t, first)
	_, again, err := f.get(s.URL + "/f")
	if err != nil {
		t.Fatal(err)
	}
	f.Dir(t, again)
	if first.ID() != again.ID() {
		t.Error("transferred again")
	}
}

// TestHeldForSession prunes between what a frontend asks and the step, while
// the server changes its mind.
func TestHeldForSession(t *testing.T) {
	body := newText("one")
	s := serve(t, func(_ *server, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		fmt.Fprint(w, body.get())
	})
	f := newFixture(t)
	f.env.IDs = []string{"session"}
	stop := (&sourcetest.Client{}).Open(t, f.Sessions, "session")
	if _, err := f.source.Resolve(t.Context(), f.env, identifier(t, s.URL+"/f"), source.ResolveOptions{}); err != nil {
		t.Fatal(err)
	}
	f.Remove(t)
	body.set("two")
	in := f.open(s.URL + "/f")
	r, err := in.Fetch(t.Context(), f.env)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := r.ReadFile(t.Context(), "f", 0, 0); err != nil || string(text) != "one" {
		t.Errorf("the step sees %q, %v", text, err)
	}
	if err := r.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests in one session", n)
	}
	stop()
	// The hold goes in a goroutine of its own.
	for range 1000 {
		f.Remove(t)
		if f.Held(t) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("held after the session")
}

func TestChecksums(t *testing.T) {
	s := serve(t, func(_ *server, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "content") })
	f := newFixture(t)
	long := digest.SHA512.FromString("content")
	for range 2 {
		if _, text, _ := f.read(s.URL+"/f", "http.checksum", long.String()); text != "content" {
			t.Error(text)
		}
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests for a pinned file", n)
	}
	if _, _, err := f.get(s.URL+"/f", "http.checksum", digest.SHA384.FromString("other").String()); err == nil || !strings.Contains(err.Error(), "digest mismatch") {
		t.Errorf("other content: %v", err)
	}
	resolve := func(req source.ChecksumRequest) (*source.Meta, error) {
		return f.source.Resolve(t.Context(), f.env, identifier(t, s.URL+"/f"), source.ResolveOptions{Checksum: &req})
	}
	want := digest.NewDigestFromBytes(digest.SHA384, func() []byte { h := sha512.Sum384([]byte("content+")); return h[:] }())
	m, err := resolve(source.ChecksumRequest{Algorithm: digest.SHA384, Suffix: []byte("+")})
	if err != nil || m.HTTP.Checksum.Digest != want || string(m.HTTP.Checksum.Suffix) != "+" || m.HTTP.Digest != digest.FromString("content") {
		t.Errorf("%+v, %v", m, err)
	}
	for _, req := range []source.ChecksumRequest{
		{Algorithm: "md5"}, {}, {Algorithm: digest.SHA256, Suffix: make([]byte, source.MaxChecksumSuffix+1)},
	} {
		if _, err := resolve(req); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%.40v: %v", req, err)
		}
	}
}

func TestSignature(t *testing.T) {
	e, err := openpgp.NewEntity("tester", "", "tester@example.com", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var key, sig bytes.Buffer
	w, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serialize(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openpgp.ArmoredDetachSign(&sig, e, strings.NewReader("content"), nil); err != nil {
		t.Fatal(err)
	}
	body := newText("content")
	s := serve(t, func(_ *server, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body.get()) })
	f := newFixture(t)
	attrs := []string{"http.sig.pubkey", key.String(), "http.sig.signature", sig.String()}
	if _, text, _ := f.read(s.URL+"/f", attrs...); text != "content" {
		t.Error(text)
	}
	body.set("other")
	_, _, err = f.get(s.URL+"/f", attrs...)
	if err == nil || !strings.Contains(err.Error(), "failed to verify pgp signature") {
		t.Errorf("other content: %v", err)
	}
	if _, err := f.open(s.URL+"/f", attrs...).Fetch(t.Context(), f.env); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("fetched without a key: %v", err)
	}
	// A digest does not stand in for the signature.
	attrs = append(attrs, "http.checksum", digest.FromString("other").String())
	if _, err := f.open(s.URL+"/f", attrs...).Key(t.Context(), f.env); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("pinned: %v", err)
	}
}
