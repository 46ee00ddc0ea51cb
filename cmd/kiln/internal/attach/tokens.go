package attach

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	dockerauth "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/request"
	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/registry"
)

const (
	// tokenLife is how long a token counts as valid if its service does not
	// say, in seconds.
	tokenLife = 60
	// tokenTimeout bounds asking for one.
	tokenTimeout = 30 * time.Second
)

// FetchToken gets a token for the daemon, so that the credentials stay here.
func (c *Credentials) FetchToken(ctx context.Context, req *auth.FetchTokenRequest) (resp *auth.FetchTokenResponse, err error) {
	found, err := c.find(req.GetHost())
	if err != nil {
		return nil, err
	}
	if found.RegistryToken != "" {
		return &auth.FetchTokenResponse{Token: found.RegistryToken, ExpiresIn: tokenLife}, nil
	}
	hc, err := c.httpClient(req.GetHost())
	if err != nil {
		return nil, err
	}
	defer hc.CloseIdleConnections()
	opt := dockerauth.TokenOptions{Realm: req.GetRealm(), Service: req.GetService(), Scopes: req.GetScopes()}
	opt.Username, opt.Secret = userSecret(found)
	kind := "anonymous"
	if opt.Secret != "" {
		kind = "oauth"
		defer func(started time.Time) {
			c.tell(fmt.Sprintf("[auth] %s token for %s", scopeNames(req.GetScopes()), req.GetHost()), started, err)
		}(time.Now())
	}
	token, life, err := registry.FetchToken(ctx, hc, opt)
	if err != nil {
		return nil, fmt.Errorf("failed to fetch %s token: %w", kind, err)
	}
	if life <= 0 {
		life = tokenLife * time.Second
	}
	return &auth.FetchTokenResponse{Token: token, ExpiresIn: int64(life / time.Second)}, nil
}

// scopeNames is how displays name scopes.
func scopeNames(scopes []string) string {
	var out []string
	for _, s := range scopes {
		out = append(out, strings.TrimPrefix(s, "repository:"))
	}
	return strings.Join(out, " ")
}

// httpClient reaches the token service of a registry.
func (c *Credentials) httpClient(host string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if t, ok := c.tls[host]; ok {
		cfg, err := tlsConfig(t)
		if err != nil {
			return nil, fmt.Errorf("TLS context of %s: %w", host, err)
		}
		transport.TLSClientConfig = cfg
	}
	return &http.Client{Transport: transport, Timeout: tokenTimeout}, nil
}

// tlsConfig reads the files of a context. Its authorities are trusted beside
// those of the system.
func tlsConfig(t request.TLSContext) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure}
	if len(t.CAs) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read the system's authorities: %w", err)
		}
		cfg.RootCAs = pool
	}
	for _, path := range t.CAs {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read authority: %w", err)
		}
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", path)
		}
	}
	for _, p := range t.Pairs {
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, fmt.Errorf("read certificate %s: %w", p.Cert, err)
		}
		cfg.Certificates = append(cfg.Certificates, pair)
	}
	return cfg, nil
}

// GetTokenAuthority names the credentials for a registry without telling them:
// equal names may share tokens.
func (c *Credentials) GetTokenAuthority(_ context.Context, req *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	key, err := c.authority(req.GetHost(), req.GetSalt())
	if err != nil {
		return nil, err
	}
	return &auth.GetTokenAuthorityResponse{PublicKey: key[ed25519.SeedSize:]}, nil
}

// VerifyTokenAuthority proves that the name is this client's.
func (c *Credentials) VerifyTokenAuthority(_ context.Context, req *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	key, err := c.authority(req.GetHost(), req.GetSalt())
	if err != nil {
		return nil, err
	}
	// The signature stands before what is signed.
	return &auth.VerifyTokenAuthorityResponse{Signed: append(ed25519.Sign(key, req.GetPayload()), req.GetPayload()...)}, nil
}

// authority derives a key from the daemon's salt and a secret of this user, so
// that neither side alone chooses it. Who has no credentials for the registry
// has the key of all such people: anonymous tokens are for everybody.
func (c *Credentials) authority(host string, salt []byte) (ed25519.PrivateKey, error) {
	if c.noTokens {
		return nil, status.Error(codes.Unavailable, "tokens are not fetched by this client (BUILDKIT_NO_CLIENT_TOKEN)")
	}
	found, err := c.find(host)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, salt)
	if _, secret := userSecret(found); secret != "" {
		seed, err := c.seeds.get(host)
		if err != nil {
			return nil, fmt.Errorf("token seed of %s: %w", host, err)
		}
		mac.Write(seed)
	}
	return ed25519.NewKeyFromSeed(mac.Sum(nil)), nil
}
