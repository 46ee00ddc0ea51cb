package signature

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"
)

// Wire format facts of SSH signatures.
const (
	sshMagic   = "SSHSIG"
	sshVersion = 1
	sshPEMType = "SSH SIGNATURE"
)

// sshHashes are those that what is signed may be hashed with.
var sshHashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New}

// sshFormats are the algorithms of signatures that may be used. Those with
// SHA-1 are left out.
var sshFormats = map[string]bool{
	ssh.KeyAlgoED25519: true, ssh.KeyAlgoSKED25519: true, ssh.KeyAlgoSKECDSA256: true,
	ssh.KeyAlgoECDSA256: true, ssh.KeyAlgoECDSA384: true, ssh.KeyAlgoECDSA521: true,
	ssh.KeyAlgoRSASHA256: true, ssh.KeyAlgoRSASHA512: true,
}

// sshBlob is a signature file without its magic.
type sshBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// sshMessage is what the key signs, without the magic.
type sshMessage struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// VerifySSH checks an SSH signature in text form; see Verify. The key that made
// it must be one of keys, and it must be made for the policy's namespace.
func VerifySSH(signed io.ReadSeeker, signature, keys []byte, p Policy) error {
	if err := checkSizes(signature, keys); err != nil {
		return err
	}
	blob, sig, err := parseSSH(signature)
	if err != nil {
		return fmt.Errorf("read SSH signature: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	key, err := findSSHKey(keys, blob.PublicKey)
	if err != nil {
		return err
	}
	if err := blob.verify(signed, key, sig, p); err != nil {
		return fmt.Errorf("failed to verify ssh signature: %w: %w", err, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// parseSSH reads the text form.
func parseSSH(text []byte) (*sshBlob, *ssh.Signature, error) {
	block, _ := pem.Decode(bytes.TrimSpace(text))
	if block == nil || block.Type != sshPEMType {
		return nil, nil, errors.New("the text has none")
	}
	rest, ok := bytes.CutPrefix(block.Bytes, []byte(sshMagic))
	if !ok {
		return nil, nil, errors.New("it does not begin with " + sshMagic)
	}
	var blob sshBlob
	if err := ssh.Unmarshal(rest, &blob); err != nil {
		return nil, nil, err
	}
	if blob.Version != sshVersion {
		return nil, nil, fmt.Errorf("version %d is not known", blob.Version)
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(blob.Signature, &sig); err != nil {
		return nil, nil, err
	}
	return &blob, &sig, nil
}

// findSSHKey returns the key of the list that a signature claims to be by.
func findSSHKey(list, claimed []byte) (ssh.PublicKey, error) {
	n := 0
	for rest := list; len(bytes.TrimSpace(rest)) > 0; n++ {
		key, _, _, tail, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			if n > 0 {
				// What follows the last key is not one.
				break
			}
			return nil, fmt.Errorf("failed to parse ssh public key: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		if bytes.Equal(key.Marshal(), claimed) {
			return key, nil
		}
		rest = tail
	}
	if n == 0 {
		return nil, fmt.Errorf("failed to parse ssh public key: the text has none: %w", errdefs.ErrInvalidArgument)
	}
	return nil, fmt.Errorf("failed to verify ssh signature: it is by another key: %w", errdefs.ErrFailedPrecondition)
}

// verify checks the purpose, the strength and the signature itself.
func (b *sshBlob) verify(signed io.ReadSeeker, key ssh.PublicKey, sig *ssh.Signature, p Policy) error {
	newHash := sshHashes[b.Hash]
	switch {
	case b.Namespace != p.Namespace:
		return fmt.Errorf("it is for %q, want %q", b.Namespace, p.Namespace)
	case newHash == nil:
		return fmt.Errorf("hash %q is not known", b.Hash)
	case !sshFormats[sig.Format]:
		return fmt.Errorf("algorithm %q is not supported", sig.Format)
	}
	if c, ok := key.(ssh.CryptoPublicKey); ok {
		if pub, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && pub.N.BitLen() < minRSA {
			return fmt.Errorf("RSA key has %d bits, at least %d are needed", pub.N.BitLen(), minRSA)
		}
	}
	if _, err := signed.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read what is signed: %w", err)
	}
	h := newHash()
	if _, err := io.Copy(h, signed); err != nil {
		return fmt.Errorf("read what is signed: %w", err)
	}
	m := sshMessage{Namespace: b.Namespace, Reserved: b.Reserved, Hash: b.Hash, Digest: h.Sum(nil)}
	return key.Verify(append([]byte(sshMagic), ssh.Marshal(m)...), sig)
}
