package signature

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"
)

// day is when the keys of these tests are made.
var day = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

// person has a key that signs.
type person struct {
	t      testing.TB
	entity *openpgp.Entity
}

func newPerson(t testing.TB, cfg packet.Config) person {
	t.Helper()
	if cfg.Time == nil {
		cfg.Time = func() time.Time { return day }
	}
	if cfg.Algorithm == 0 {
		cfg.Algorithm = packet.PubKeyAlgoEdDSA
	}
	e, err := openpgp.NewEntity("tester", "", "tester@example.com", &cfg)
	if err != nil {
		t.Fatal(err)
	}
	return person{t, e}
}

// public returns the key as text.
func (p person) public() []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = p.entity.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// sign signs at a time.
func (p person) sign(text string, at time.Time, hash crypto.Hash) []byte {
	var b bytes.Buffer
	cfg := &packet.Config{Time: func() time.Time { return at }, DefaultHash: hash}
	if err := openpgp.ArmoredDetachSign(&b, p.entity, strings.NewReader(text), cfg); err != nil {
		p.t.Fatal(err)
	}
	return b.Bytes()
}

// joined puts the signatures of several texts into one.
func joined(t testing.TB, texts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.SignatureType, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range texts {
		sigs, err := readSignatures(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sigs {
			if _, err := w.Write(s.raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestVerifyPGP(t *testing.T) {
	const text = "what is signed"
	ann, bob := newPerson(t, packet.Config{}), newPerson(t, packet.Config{})
	short := newPerson(t, packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 1024})
	mayfly := newPerson(t, packet.Config{KeyLifetimeSecs: 3600})
	revoked := newPerson(t, packet.Config{})
	later := day.Add(48 * time.Hour)
	good := ann.sign(text, day.Add(time.Minute), crypto.SHA256)
	if err := revoked.entity.RevokeKey(packet.KeySuperseded, "lost", &packet.Config{Time: func() time.Time { return later }}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, text string
		sig, keys  []byte
		strict     bool
		want       string // in the error; empty for success
	}{
		{"good", text, good, ann.public(), false, ""},
		{"good and strict", text, good, ann.public(), true, ""},
		{"second key", text, good, append(bob.public(), ann.public()...), false, ""},
		{"second signature", text, joined(t, bob.sign(text, day.Add(time.Minute), crypto.SHA512), good), ann.public(), false, ""},
		{"bad one before a good one", text, joined(t, bob.sign("other", day.Add(time.Minute), crypto.SHA512), good), append(ann.public(), bob.public()...), false, ""},
		{"other bytes", text + "!", good, ann.public(), false, "invalid signature"},
		{"other key", text, good, bob.public(), false, "unknown entity"},
		{"in the future", text, ann.sign(text, later.Add(time.Hour), crypto.SHA256), ann.public(), false, "future"},
		{"expired since", text, mayfly.sign(text, day.Add(time.Minute), crypto.SHA256), mayfly.public(), false, ""},
		{"expired since, strict", text, mayfly.sign(text, day.Add(time.Minute), crypto.SHA256), mayfly.public(), true, "expired"},
		{"short key", text, short.sign(text, day.Add(time.Minute), crypto.SHA256), short.public(), false, "1024 bits"},
		{"revoked later", text, revoked.sign(text, day.Add(time.Minute), crypto.SHA256), revoked.public(), false, "revoked"},
		{"no key", text, good, []byte("nothing"), false, "public key"},
		{"no signature", text, []byte(pgpBegin + "\n"), ann.public(), false, "signature"},
		{"key for a signature", text, ann.public(), ann.public(), false, "invalid signature format"},
		{"long", text, bytes.Repeat([]byte(pgpBegin), maxSignature), ann.public(), false, "bytes"},
	}
	for _, tt := range tests {
		p := Policy{RejectExpired: tt.strict, Now: func() time.Time { return later }}
		check(t, tt.name, Verify(strings.NewReader(tt.text), tt.sig, tt.keys, p), tt.want)
	}
}

func check(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) || !errdefs.IsInvalidArgument(err) && !errdefs.IsFailedPrecondition(err) {
		t.Errorf("%s: error %v, want %q", name, err, want)
	}
}

// sshSign makes a signature as ssh-keygen does.
func sshSign(t testing.TB, key crypto.Signer, text, namespace, algorithm string) []byte {
	t.Helper()
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512([]byte(text))
	msg := append([]byte(sshMagic), ssh.Marshal(sshMessage{Namespace: namespace, Hash: "sha512", Digest: sum[:]})...)
	sig, err := s.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, msg, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	blob := sshBlob{Version: sshVersion, PublicKey: s.PublicKey().Marshal(), Namespace: namespace, Hash: "sha512", Signature: ssh.Marshal(sig)}
	return pem.EncodeToMemory(&pem.Block{Type: sshPEMType, Bytes: append([]byte(sshMagic), ssh.Marshal(blob)...)})
}

func authorized(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return ssh.MarshalAuthorizedKey(pub)
}

func TestVerifySSH(t *testing.T) {
	const text = "what is signed"
	newKey := func() crypto.Signer {
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	newRSA := func(bits int) crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	ann, bob, strong, weak := newKey(), newKey(), newRSA(2048), newRSA(1024)
	good := sshSign(t, ann, text, "git", ssh.KeyAlgoED25519)
	tests := []struct {
		name, text string
		sig, keys  []byte
		want       string
	}{
		{"good", text, good, authorized(t, ann), ""},
		{"second key", text, good, append(authorized(t, bob), authorized(t, ann)...), ""},
		{"rsa", text, sshSign(t, strong, text, "git", ssh.KeyAlgoRSASHA512), authorized(t, strong), ""},
		{"rsa with sha-1", text, sshSign(t, strong, text, "git", ssh.KeyAlgoRSA), authorized(t, strong), "algorithm"},
		{"short rsa", text, sshSign(t, weak, text, "git", ssh.KeyAlgoRSASHA512), authorized(t, weak), "1024 bits"},
		{"other bytes", text + "!", good, authorized(t, ann), "failed to verify ssh signature"},
		{"other key", text, good, authorized(t, bob), "another key"},
		{"other purpose", text, sshSign(t, ann, text, "file", ssh.KeyAlgoED25519), authorized(t, ann), `"file"`},
		{"no key", text, good, nil, "ssh public key"},
		{"odd key", text, good, []byte("nothing"), "ssh public key"},
		{"cut", text, append(good[:40:40], "\n-----END SSH SIGNATURE-----\n"...), authorized(t, ann), "SSH signature"},
	}
	for _, tt := range tests {
		check(t, tt.name, Verify(strings.NewReader(tt.text), tt.sig, tt.keys, Policy{Namespace: "git"}), tt.want)
	}
}

func FuzzVerify(f *testing.F) {
	p := newPerson(f, packet.Config{})
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.sign("text", day, crypto.SHA256), p.public())
	f.Add(sshSign(f, key, "text", "git", ssh.KeyAlgoED25519), authorized(f, key))
	f.Add([]byte(sshBegin), []byte("ssh-ed25519 AAAA"))
	f.Fuzz(func(t *testing.T, sig, keys []byte) {
		// Nobody has signed this.
		if Verify(strings.NewReader("something else"), sig, keys, Policy{Namespace: "git"}) == nil {
			t.Fatalf("verified by %q and %q", sig, keys)
		}
	})
}
