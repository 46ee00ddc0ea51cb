package script_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/test/daemon"
	"github.com/kilnbuild/kiln/test/fixtures"
)

// guard stands before a registry and wants tokens, which it sells to ann for
// her password.
func guard(t *testing.T, registry string) *httptest.Server {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token" && user == "ann" && pass == "sesame":
			fmt.Fprintf(w, `{"token":"ticket for %s","expires_in":300}`, r.UserAgent())
		case strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ticket for "):
			proxy.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:lib:pull"`, s.URL))
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// A base image behind a registry that wants tokens: the client gets them with
// what its configuration has, or, told not to, has the daemon do it.
func TestTokens(t *testing.T) {
	server := fixtures.Registry(t)
	image := fixtures.Busybox(t, server)
	s := guard(t, server.Addr)
	host := strings.TrimPrefix(s.URL, "http://")
	config, ctx := t.TempDir(), t.TempDir()
	login := base64.StdEncoding.EncodeToString([]byte("ann:sesame"))
	for path, text := range map[string]string{
		filepath.Join(config, "config.json"): fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, login),
		filepath.Join(ctx, "Dockerfile"):     "FROM " + strings.Replace(image, server.Addr, host, 1) + "\nRUN true\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kiln, err := daemon.Program(t.Context(), "kiln")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env, want string
		fails     bool
	}{
		{"BUILDKIT_NO_CLIENT_TOKEN=", "[auth] ", false},
		{"BUILDKIT_NO_CLIENT_TOKEN=1", "[auth] sharing credentials for " + host, false},
		{"DOCKER_CONFIG=/nowhere", "error: ", true},
	} {
		d := daemon.Run(t, daemon.Config{})
		cmd := exec.CommandContext(t.Context(), kiln, "--addr", d.Address, "build", "--progress", "plain", ctx)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+config, c.env)
		out, err := cmd.CombinedOutput()
		if (err != nil) != c.fails || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "sesame") {
			t.Errorf("%s: %v, want %q in\n%s", c.env, err, c.want, out)
		}
		if c.env == "BUILDKIT_NO_CLIENT_TOKEN=" && !strings.Contains(string(out), "pull token for "+host) {
			t.Errorf("the client fetched no token:\n%s", out)
		}
	}
}
