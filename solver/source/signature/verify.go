package signature

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
)

const (
	// maxSignature and maxKeys bound texts, in bytes; maxSignatures how many
	// signatures of one text are tried.
	maxSignature  = 64 << 10
	maxKeys       = 1 << 20
	maxSignatures = 32
	// minRSA is the least size of an RSA key, in bits.
	minRSA = 2048
)

// First lines of the text forms.
const (
	pgpBegin = "-----BEGIN PGP SIGNATURE-----"
	sshBegin = "-----BEGIN SSH SIGNATURE-----"
)

// Policy says how strict a check is.
type Policy struct {
	// RejectExpired refuses keys and signatures that have expired by now.
	// Otherwise they count if they were good when the signature was made: old
	// releases stay verifiable.
	RejectExpired bool
	// Namespace is the purpose that an SSH signature must be made for.
	Namespace string
	// Now, optional, is the clock.
	Now func() time.Time
}

func (p Policy) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// Verify checks a signature of either kind; which one it is shows in its first
// line. Errors are errdefs InvalidArgument for texts that are neither keys nor
// signatures, else FailedPrecondition.
func Verify(signed io.ReadSeeker, signature, keys []byte, p Policy) error {
	switch text := bytes.TrimSpace(signature); {
	case bytes.HasPrefix(text, []byte(pgpBegin)):
		return VerifyPGP(signed, signature, keys, p)
	case bytes.HasPrefix(text, []byte(sshBegin)):
		return VerifySSH(signed, signature, keys, p)
	}
	return fmt.Errorf("invalid signature format: neither OpenPGP nor SSH: %w", errdefs.ErrInvalidArgument)
}

// checkSizes refuses texts that are too long to be looked at.
func checkSizes(signature, keys []byte) error {
	if len(signature) > maxSignature {
		return fmt.Errorf("signature has %d bytes, at most %d: %w", len(signature), maxSignature, errdefs.ErrInvalidArgument)
	}
	if len(keys) > maxKeys {
		return fmt.Errorf("public keys have %d bytes, at most %d: %w", len(keys), maxKeys, errdefs.ErrInvalidArgument)
	}
	return nil
}
