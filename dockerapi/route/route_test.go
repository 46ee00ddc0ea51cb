package route_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/dockerapi/route"
)

// get asks a mux and returns status, content type and body.
func get(t *testing.T, m http.Handler, method, target string) (int, string, string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w.Code, w.Header().Get("Content-Type"), strings.TrimSpace(w.Body.String())
}

func TestMux(t *testing.T) {
	m := route.NewMux("Docker/test (linux)")
	say := func(what string) route.Handler {
		return func(w http.ResponseWriter, r *http.Request, name string) error {
			_, err := fmt.Fprintf(w, "%s %s %s", what, name, route.VersionOf(r))
			return err
		}
	}
	m.Handle(http.MethodGet, "/images/json", say("list"))
	m.Handle(http.MethodGet, "/images/{name}/json", say("inspect"))
	m.Handle(http.MethodDelete, "/images/{name}", say("remove"))
	m.Handle(http.MethodPost, "/fail", func(http.ResponseWriter, *http.Request, string) error {
		return fmt.Errorf("no such thing: %w", errdefs.ErrNotFound)
	})
	m.Handle(http.MethodPost, "/late", func(w http.ResponseWriter, _ *http.Request, _ string) error {
		_, _ = io.WriteString(w, "begun")
		return errors.New("late")
	})
	m.Handle(http.MethodPost, "/panic", func(http.ResponseWriter, *http.Request, string) error { panic("oh") })
	for _, tc := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/v1.41/images/json", 200, "list  1.41"},
		{"GET", "/images/r.test:5000/a/b:1@sha256:00/json", 200, "inspect r.test:5000/a/b:1@sha256:00 1.52"},
		{"DELETE", "/v1.24/images/json", 200, "remove json 1.24"},
		{"GET", "/v1.23/images/json", 400, `{"message":"client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"}`},
		{"GET", "/v1.99/images/json", 400, `{"message":"client version 1.99 is too new. Maximum supported API version is 1.52"}`},
		{"GET", "/v1.x/images/json", 404, `{"message":"page not found"}`},
		{"GET", "/v1.+41/images/json", 404, `{"message":"page not found"}`},
		{"GET", "/v-1.41/images/json", 404, `{"message":"page not found"}`},
		{"GET", "/v1.99999999999999999999/images/json", 404, `{"message":"page not found"}`},
		{"GET", "/nothing", 404, `{"message":"page not found"}`},
		{"PUT", "/images/json", 405, `{"message":"method PUT is not allowed here"}`},
		{"POST", "/fail", 404, `{"message":"no such thing"}`},
		{"POST", "/late", 200, "begun"},
		{"POST", "/panic", 500, `{"message":"internal error: oh: internal"}`},
		{"OPTIONS", "/any", 200, ""},
	} {
		code, kind, body := get(t, m, tc.method, tc.path)
		if code != tc.status || body != tc.want {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, code, body)
		}
		if code >= 400 && kind != "application/json" {
			t.Errorf("%s %s: content type is %q", tc.method, tc.path, kind)
		}
	}
}

// TestAllow has a wrong method answered with those that are right.
func TestAllow(t *testing.T) {
	m := route.NewMux("Docker/test (linux)")
	for _, path := range []string{"/{name}", "/a"} {
		m.Handle(http.MethodGet, path, nil)
		m.Handle(http.MethodHead, path, nil)
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest(http.MethodPatch, "/a", nil))
	if allowed := w.Header().Get("Allow"); w.Code != http.StatusMethodNotAllowed || allowed != "GET, HEAD" {
		t.Errorf("%d, allowed are %q", w.Code, allowed)
	}
}

func TestStatus(t *testing.T) {
	for err, want := range map[error]int{
		errdefs.ErrInvalidArgument:                            400,
		errdefs.ErrConflict:                                   409,
		errdefs.ErrAlreadyExists:                              409,
		errdefs.ErrUnauthenticated:                            401,
		errdefs.ErrPermissionDenied:                           403,
		errdefs.ErrNotImplemented:                             501,
		errdefs.ErrUnavailable:                                503,
		errors.New("x"):                                       500,
		status.Error(codes.NotFound, "x"):                     404,
		status.Error(codes.Unimplemented, "x"):                501,
		&route.StatusError{Status: 418, Err: errors.New("x")}: 418,
	} {
		if got := route.Status(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestParameters(t *testing.T) {
	r := httptest.NewRequest("GET", "/?a=1&b=No&c=&n=7&bad=x&j="+url.QueryEscape(`{"k":"v"}`), nil)
	if !route.Bool(r, "a") || route.Bool(r, "b") || route.Bool(r, "c") || route.Bool(r, "none") || !route.BoolOr(r, "none", true) || route.BoolOr(r, "b", true) {
		t.Error("booleans are wrong")
	}
	if n, err := route.Int(r, "n"); n != 7 || err != nil {
		t.Errorf("number is %d, %v", n, err)
	}
	if _, err := route.Int(r, "bad"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no number: %v", err)
	}
	var m map[string]string
	if err := route.JSON(r, "j", &m); err != nil || m["k"] != "v" {
		t.Errorf("JSON is %v, %v", m, err)
	}
}

func TestFilters(t *testing.T) {
	parse := func(text string) (route.Filters, error) {
		return route.ParseFilters(httptest.NewRequest("GET", "/?filters="+url.QueryEscape(text), nil), "dangling", "label")
	}
	f, err := parse(`{"dangling":{"true":true,"false":false},"label":["a","b"]}`)
	if err != nil || !slices.Equal(f["label"], []string{"a", "b"}) {
		t.Fatalf("filters are %v, %v", f, err)
	}
	if on, err := f.One("dangling", false); !on || err != nil {
		t.Errorf("dangling is %v, %v", on, err)
	}
	for _, bad := range []string{`{`, `{"x":["1"]}`, `{"label":1}`, `{"dangling":["maybe"]}`} {
		f, err := parse(bad)
		if err == nil {
			_, err = f.One("dangling", false)
		}
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestAuthHeader(t *testing.T) {
	for _, encoding := range []*base64.Encoding{base64.URLEncoding, base64.RawURLEncoding, base64.StdEncoding} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("X-Registry-Auth", encoding.EncodeToString([]byte(`{"username":"u","password":"p??>>"}`)))
		var c route.Credentials
		if err := route.AuthHeader(r, "X-Registry-Auth", &c); err != nil || c.Username != "u" || c.Password != "p??>>" {
			t.Errorf("credentials are %+v, %v", c, err)
		}
	}
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("X-Registry-Auth", "not json")
	if err := route.AuthHeader(r, "X-Registry-Auth", &route.Credentials{}); err == nil {
		t.Error("nonsense was read")
	}
}

func TestStream(t *testing.T) {
	w := httptest.NewRecorder()
	s := route.NewStream(w)
	if err := s.Fail(errors.New("early"), 0); err == nil || w.Body.Len() > 0 {
		t.Errorf("an error before the stream: %v, %s", err, w.Body)
	}
	_, _ = io.WriteString(s, "Step 1/2\n")
	if err := s.Send(route.Message{Status: "Downloading", ID: "x", Progress: &route.Progress{Current: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Fail(errors.New("late"), 3); err != nil {
		t.Fatal(err)
	}
	want := "{\"stream\":\"Step 1/2\\n\"}\r\n{\"status\":\"Downloading\",\"id\":\"x\",\"progressDetail\":{\"current\":1}}\r\n" +
		"{\"errorDetail\":{\"code\":3,\"message\":\"late\"},\"error\":\"late\"}\r\n"
	if w.Body.String() != want || !w.Flushed {
		t.Errorf("stream is %q", w.Body)
	}
}

// FuzzFilters feeds filters of strangers.
func FuzzFilters(f *testing.F) {
	f.Add(`{"label":{"a":true}}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = route.ParseFilters(httptest.NewRequest("GET", "/?filters="+url.QueryEscape(text), nil), "label")
	})
}
