package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	dockerauth "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"github.com/containerd/errdefs"
)

// FetchToken gets a token from a token service the way the daemon does, for
// clients that keep their credentials and send the token. A life of 0 means
// that the service did not say. Neither the token nor the credentials show in
// the error.
func FetchToken(ctx context.Context, hc *http.Client, opt dockerauth.TokenOptions) (value string, life time.Duration, err error) {
	realm, err := url.Parse(opt.Realm)
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return "", 0, fmt.Errorf("token service %q is no URL: %w", opt.Realm, errdefs.ErrInvalidArgument)
	}
	bounded := *hc
	if bounded.Transport == nil {
		bounded.Transport = http.DefaultTransport
	}
	bounded.Transport = &boundedTransport{base: bounded.Transport}
	got, err := requestToken(ctx, &bounded, opt, http.Header{})
	if err != nil {
		return "", 0, redact(err)
	}
	return got.value, got.life, nil
}
