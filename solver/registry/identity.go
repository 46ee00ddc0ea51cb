package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kilnbuild/kiln/solver/pb/auth"
	"github.com/kilnbuild/kiln/solver/session"
)

// askTimeout bounds one question to a client, which may ask a person.
const askTimeout = time.Minute

// identity is with what a token is obtained. Sessions with equal names may use
// each other's tokens; a name is given only after proof.
type identity struct {
	name string
	// own names the session itself. It is not the session's id: clients choose
	// those, and may choose that of a session that has ended.
	own string
	// remote says that the client fetches the token itself.
	remote bool
	// cred are the credentials of clients that do not.
	cred session.Credentials
}

// anonymous is the identity of those who have no credentials.
var anonymous = identity{name: "anonymous"}

// identities knows who sessions are.
type identities struct {
	sessions *session.Manager
	// salt makes authorities of this process useless elsewhere; secret makes
	// the names of credentials tell nothing.
	salt, secret []byte
	// public is the authority of clients without credentials: everybody can
	// derive it, so it proves nothing.
	public string

	mu    sync.Mutex
	known map[sessionHost]identity
}

// sessionHost names a session by what it is, not by its id: see identity.own.
type sessionHost struct {
	session *session.Session
	host    string
}

func newIdentities(m *session.Manager) *identities {
	id := &identities{sessions: m, salt: make([]byte, 32), secret: make([]byte, 32), known: map[sessionHost]identity{}}
	rand.Read(id.salt)   // Never fails.
	rand.Read(id.secret) // Never fails.
	sum := hmac.New(sha256.New, id.salt).Sum(nil)
	key := ed25519.NewKeyFromSeed(sum[:ed25519.SeedSize])
	id.public = string(key[ed25519.SeedSize:])
	return id
}

// each calls f with the identity of one session after the other until it
// succeeds. Without a session f is called once, with a nil session, as
// anonymous.
func (d *identities) each(ctx context.Context, ids []string, host string, f func(context.Context, *session.Session, identity) error) error {
	if d.sessions == nil {
		return f(ctx, nil, anonymous)
	}
	err := d.sessions.Any(ctx, ids, func(ctx context.Context, s *session.Session) error {
		id, err := d.of(ctx, s, host)
		if err != nil {
			return err
		}
		return f(ctx, s, id)
	})
	if errors.Is(err, session.ErrNone) {
		return f(ctx, nil, anonymous)
	}
	return err
}

// of returns who a session is at a host. The answer is kept until the session
// ends.
func (d *identities) of(ctx context.Context, s *session.Session, host string) (identity, error) {
	key := sessionHost{s, host}
	d.mu.Lock()
	id, ok := d.known[key]
	d.mu.Unlock()
	if ok {
		return id, nil
	}
	id, err := d.ask(ctx, s, host)
	if err != nil {
		return identity{}, err
	}
	if id.own == "" {
		id.own = "session:" + rand.Text()
	}
	d.mu.Lock()
	d.known[key] = id
	d.mu.Unlock()
	context.AfterFunc(s.Context(), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.known, key)
	})
	return id, nil
}

// ask finds out who a session is: by its authority if it offers one, else by
// its credentials.
func (d *identities) ask(ctx context.Context, s *session.Session, host string) (identity, error) {
	key, err := d.authority(ctx, s, host)
	if err != nil {
		return identity{}, err
	}
	if key == nil {
		cred, err := d.sessions.Credentials(ctx, []string{s.ID()}, host)
		if err != nil {
			return identity{}, err
		}
		if cred == (session.Credentials{}) {
			return anonymous, nil
		}
		return identity{name: d.credentialName(cred), cred: cred}, nil
	}
	own := "session:" + rand.Text()
	id := identity{name: own, own: own, remote: true}
	if string(key) == d.public {
		return id, nil
	}
	err = d.verify(ctx, s, host, key)
	if err == nil {
		id.name = "authority:" + hex.EncodeToString(key)
	}
	// Without proof its tokens are its own.
	return id, context.Cause(ctx)
}

// credentialName names credentials without telling them.
func (d *identities) credentialName(c session.Credentials) string {
	mac := hmac.New(sha256.New, d.secret)
	fmt.Fprintf(mac, "%d:%s%s", len(c.Username), c.Username, c.Secret)
	return "credentials:" + hex.EncodeToString(mac.Sum(nil))
}

// authority asks a client for its public key; nil if it has none to offer.
func (d *identities) authority(ctx context.Context, s *session.Session, host string) (ed25519.PublicKey, error) {
	ctx, cancel := s.With(ctx)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, askTimeout)
	defer stop()
	resp, err := auth.NewAuthClient(s.Conn()).GetTokenAuthority(ctx, &auth.GetTokenAuthorityRequest{Host: host, Salt: d.salt})
	if c := status.Code(err); c == codes.Unimplemented || c == codes.Unavailable {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask client for its authority at %s: %w", host, err)
	}
	if n := len(resp.GetPublicKey()); n != ed25519.PublicKeySize {
		return nil, fmt.Errorf("client's authority at %s has %d bytes, want %d", host, n, ed25519.PublicKeySize)
	}
	return resp.GetPublicKey(), nil
}

// verify has the client sign something new: a client that only heard of
// another's key must not get its tokens, nor have it use its own.
func (d *identities) verify(ctx context.Context, s *session.Session, host string, key ed25519.PublicKey) error {
	ctx, cancel := s.With(ctx)
	defer cancel()
	ctx, stop := context.WithTimeout(ctx, askTimeout)
	defer stop()
	payload := make([]byte, 32)
	rand.Read(payload) // Never fails.
	resp, err := auth.NewAuthClient(s.Conn()).VerifyTokenAuthority(ctx,
		&auth.VerifyTokenAuthorityRequest{Host: host, Payload: payload, Salt: d.salt})
	if err != nil {
		return fmt.Errorf("ask client to prove its authority at %s: %w", host, err)
	}
	signed := resp.GetSigned()
	// The signature stands before what was signed.
	if len(signed) != ed25519.SignatureSize+len(payload) ||
		subtle.ConstantTimeCompare(signed[ed25519.SignatureSize:], payload) != 1 ||
		!ed25519.Verify(key, payload, signed[:ed25519.SignatureSize]) {
		return fmt.Errorf("client does not prove its authority at %s", host)
	}
	return nil
}

// credentials asks sessions for name and password.
func (d *identities) credentials(ctx context.Context, ids []string, host string) (session.Credentials, error) {
	if d.sessions == nil {
		return session.Credentials{}, nil
	}
	ctx, stop := context.WithTimeout(ctx, askTimeout)
	defer stop()
	return d.sessions.Credentials(ctx, ids, host)
}
