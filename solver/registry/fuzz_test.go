package registry

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"
)

// FuzzAnswer reads headers that a registry chooses.
func FuzzAnswer(f *testing.F) {
	f.Add(`Bearer realm="https://auth.example/token",service="s",scope="repository:a:pull"`, "120")
	f.Add(`Basic realm="x", Bearer realm=`, "Wed, 21 Oct 2015 07:28:00 GMT")
	f.Add(`Bearer realm="file:///etc/passwd"`, "-1")
	f.Add(`Bearer realm="http://a b/"`, "99999999999999999999")
	asked := &url.URL{Scheme: "https", Host: "registry.example"}
	f.Fuzz(func(t *testing.T, header, after string) {
		for _, c := range auth.ParseAuthHeader(http.Header{"Www-Authenticate": []string{header}}) {
			ch, err := newChallenge(asked, c, false)
			if err == nil && !strings.HasPrefix(strings.ToLower(ch.realm), "https://") {
				t.Errorf("realm %q accepted", ch.realm)
			}
		}
		if d, ok := retryAfter(after, time.Unix(0, 0)); ok && d < 0 {
			t.Errorf("pause %v", d)
		}
	})
}
