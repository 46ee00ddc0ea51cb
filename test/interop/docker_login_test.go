package interop_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// guarded is a registry behind a door that lets ann in: with her password, or
// with a token that it sells for that. It returns its HOST:PORT.
func guarded(t *testing.T, tokens bool) string {
	t.Helper()
	registry := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: world.registry.Addr})
	// Uploads are to go on at this door, not behind it.
	registry.ModifyResponse = func(resp *http.Response) error {
		if to, err := resp.Location(); err == nil {
			resp.Header.Set("Location", to.RequestURI())
		}
		return nil
	}
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		known := user == "ann" && password == "sesame"
		challenge := `Basic realm="door"`
		if tokens {
			if r.URL.Path == "/token" && known {
				_, _ = io.WriteString(w, `{"token":"ticket","expires_in":300}`)
				return
			}
			known = r.Header.Get("Authorization") == "Bearer ticket"
			challenge = fmt.Sprintf(`Bearer realm="%s/token",service="door"`, s.URL)
		}
		if known {
			r.Header.Del("Authorization")
			registry.ServeHTTP(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// header is a value as the headers with credentials have it.
func header(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(data)
}

// postWith is post with one more header.
func (e *engine) postWith(path string, body io.Reader, name, value string) (int, string) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, "http://docker"+path, body)
	if err != nil {
		e.t.Fatal(err)
	}
	if value != "" {
		req.Header.Set(name, value)
	}
	resp, err := e.plain().Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// TestDockerLogin builds from, pulls from, pushes to and signs in at registries
// that want credentials, which requests bring.
func TestDockerLogin(t *testing.T) {
	e := newEngine(t)
	image := strings.TrimPrefix(base(t, "busybox"), world.registry.Addr+"/")
	for _, tokens := range []bool{false, true} {
		t.Run(fmt.Sprintf("tokens=%t", tokens), func(t *testing.T) {
			host := guarded(t, tokens)
			ref := host + "/" + image
			type login map[string]string
			right, wrong := login{"username": "ann", "password": "sesame"}, login{"username": "ann", "password": "guess"}
			joined := login{"auth": base64.StdEncoding.EncodeToString([]byte("ann:sesame"))}
			dir := folder(t, "Dockerfile", "FROM "+ref+"\nLABEL for="+host+"\n")
			name := fmt.Sprintf("%s/made/by-%t:1", host, tokens)
			for i, tc := range []struct {
				// known are the credentials of a build by registry.
				known map[string]login
				ok    bool
			}{
				{nil, false},
				{map[string]login{host: wrong}, false},
				{map[string]login{"other.test": right}, false},
				{map[string]login{"other.test": wrong, host: right}, true},
				{map[string]login{"http://" + host + "/v1/": joined}, true},
			} {
				for _, version := range []string{"1", "2"} {
					// What one build was let in for must not do for the next.
					query := "/build?nocache=1&pull=1&version=" + version
					status, answer := e.postWith(query, packed(t, dir), "X-Registry-Config", header(t, tc.known))
					got := said{failure: answer}
					if status == http.StatusOK {
						got = readStream(t, strings.NewReader(answer))
					}
					if tc.ok && (got.failure != "" || got.id == "") || !tc.ok && !strings.Contains(got.failure, "pull access denied, repository does not exist or may require authorization") {
						t.Errorf("build %d, version %s: %d, %+v", i, version, status, got)
					}
				}
			}
			create := "/images/create?fromImage=" + url.QueryEscape(ref)
			for _, bad := range []string{"", header(t, wrong)} {
				want := "pull access denied for " + host + "/" + strings.TrimSuffix(image, ":latest") + ", repository does not exist or may require 'docker login'"
				if status, answer := e.postWith(create, nil, "X-Registry-Auth", bad); status != http.StatusNotFound || !strings.Contains(answer, want) {
					t.Errorf("pull with %q: %d %s", bad, status, answer)
				}
			}
			if status, answer := e.postWith(create, nil, "X-Registry-Auth", header(t, right)); status != http.StatusOK || !strings.Contains(answer, "Status: ") {
				t.Errorf("pull: %d %s", status, answer)
			}
			e.docker(true, "tag", ref, name).ok(t)
			push := "/images/" + strings.TrimSuffix(name, ":1") + "/push?tag=1"
			for _, bad := range []string{header(t, login{}), header(t, wrong)} {
				status, answer := e.postWith(push, nil, "X-Registry-Auth", bad)
				if got := readStream(t, strings.NewReader(answer)); status != http.StatusOK || !strings.Contains(got.failure, "push access denied, repository does not exist or may require authorization") {
					t.Errorf("push with %q: %d %s", bad, status, answer)
				}
			}
			status, answer := e.postWith(push, nil, "X-Registry-Auth", header(t, right))
			if got := readStream(t, strings.NewReader(answer)); status != http.StatusOK || got.failure != "" || !strings.Contains(answer, "1: digest: sha256:") {
				t.Errorf("push: %d %s", status, answer)
			}
			config := "--config=" + filepath.Join(t.TempDir(), "config")
			refused := run(t, "guess\n", e.env, dockerCommand(t), config, "login", "-u", "ann", "--password-stdin", host)
			refused.failed(t, "Error response from daemon: ")
			if tokens {
				refused.failed(t, "unauthorized: incorrect username or password")
			} else {
				refused.failed(t, "failed with status: 401 Unauthorized")
			}
			run(t, "sesame\n", e.env, dockerCommand(t), config, "login", "-u", "ann", "--password-stdin", host).ok(t)
			run(t, "", e.env, dockerCommand(t), config, "push", name).ok(t)
		})
	}
}
