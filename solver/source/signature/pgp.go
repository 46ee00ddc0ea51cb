package signature

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/containerd/errdefs"
)

// tagSignature is the number of signature packets in OpenPGP.
const tagSignature = 2

// skew is how far in the future a signature may be: clocks differ.
const skew = 5 * time.Minute

// algorithms are those of keys that may sign.
var algorithms = map[packet.PublicKeyAlgorithm]bool{
	packet.PubKeyAlgoRSA: true, packet.PubKeyAlgoRSASignOnly: true, packet.PubKeyAlgoECDSA: true,
	packet.PubKeyAlgoEdDSA: true, packet.PubKeyAlgoEd25519: true, packet.PubKeyAlgoEd448: true,
}

// VerifyPGP checks an OpenPGP signature in text form; see Verify.
func VerifyPGP(signed io.ReadSeeker, signature, keys []byte, p Policy) (err error) {
	// The library indexes into packets that are too short. What a client sends
	// must not end the builds of others.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read OpenPGP packets: %v: %w", r, errdefs.ErrInvalidArgument)
		}
	}()
	if err := checkSizes(signature, keys); err != nil {
		return err
	}
	ring, err := readKeyRing(keys)
	if err != nil {
		return err
	}
	packets, err := readSignatures(signature)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range packets {
		if _, err := signed.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read what is signed: %w", err)
		}
		err := s.verify(signed, ring, p)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("%w: %w", errors.Join(errs...), errdefs.ErrFailedPrecondition)
}

// readKeyRing reads text blocks of keys, one after another.
func readKeyRing(text []byte) (openpgp.EntityList, error) {
	var ring openpgp.EntityList
	// Buffered here, or else each block would take a part of the next with it.
	for r := bufio.NewReader(bytes.NewReader(text)); ; {
		block, err := armor.Decode(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && block.Type != openpgp.PublicKeyType {
			err = fmt.Errorf("block is a %q", block.Type)
		}
		var more openpgp.EntityList
		if err == nil {
			more, err = openpgp.ReadKeyRing(block.Body)
		}
		if err != nil {
			return nil, fmt.Errorf("failed to read armored public key: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		ring = append(ring, more...)
	}
	if len(ring) == 0 {
		return nil, fmt.Errorf("failed to read armored public key: no armored data found: %w", errdefs.ErrInvalidArgument)
	}
	return ring, nil
}

// pgpSignature is one signature of a text.
type pgpSignature struct {
	*packet.Signature
	// raw is the packet as it came.
	raw []byte
}

// readSignatures takes a text apart. Packets of kinds that are not known are
// left out, as newer programs may add some.
func readSignatures(text []byte) ([]pgpSignature, error) {
	block, err := armor.Decode(bytes.NewReader(text))
	if err == nil && block.Type != openpgp.SignatureType {
		err = fmt.Errorf("block is a %q", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("read OpenPGP signature: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	var out []pgpSignature
	for r := packet.NewOpaqueReader(block.Body); ; {
		op, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read OpenPGP signature: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		if op.Tag != tagSignature {
			continue
		}
		pk, err := op.Parse()
		sig, ok := pk.(*packet.Signature)
		if err != nil || !ok {
			continue
		}
		var raw bytes.Buffer
		if err := op.Serialize(&raw); err != nil {
			return nil, fmt.Errorf("read OpenPGP signature: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		if out = append(out, pgpSignature{sig, raw.Bytes()}); len(out) > maxSignatures {
			return nil, fmt.Errorf("more than %d OpenPGP signatures: %w", maxSignatures, errdefs.ErrInvalidArgument)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read OpenPGP signature: no signature packet found: %w", errdefs.ErrInvalidArgument)
	}
	return out, nil
}

// verify checks one signature.
func (s pgpSignature) verify(signed io.Reader, ring openpgp.EntityList, p Policy) error {
	name := "signature"
	if s.IssuerKeyId != nil {
		name = fmt.Sprintf("signature by %X", *s.IssuerKeyId)
	}
	now := p.now()
	switch s.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512:
	default:
		return fmt.Errorf("%s: hash %v is too weak or not known", name, s.Hash)
	}
	if !algorithms[s.PubKeyAlgo] {
		return fmt.Errorf("%s: key algorithm %v is not supported", name, s.PubKeyAlgo)
	}
	if s.CreationTime.After(now.Add(skew)) {
		return fmt.Errorf("%s: made in the future, at %v", name, s.CreationTime.UTC())
	}
	at := s.CreationTime
	if p.RejectExpired {
		at = now
	}
	entity, err := openpgp.CheckDetachedSignature(ring, signed, bytes.NewReader(s.raw), &packet.Config{Time: func() time.Time { return at }})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := checkSigner(entity); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// checkSigner refuses keys that are too short, and ones that were ever
// revoked: whoever has a revoked key can make a signature look old.
func checkSigner(e *openpgp.Entity) error {
	for _, r := range e.Revocations {
		if e.PrimaryKey.VerifyRevocationSignature(r) == nil {
			return fmt.Errorf("key revoked: %q", r.RevocationReasonText)
		}
	}
	keys := []*packet.PublicKey{e.PrimaryKey}
	for _, sub := range e.Subkeys {
		// Subkeys for other ends do not matter.
		if sub.Sig != nil && sub.Sig.FlagsValid && sub.Sig.FlagSign {
			keys = append(keys, sub.PublicKey)
		}
	}
	for _, k := range keys {
		if pub, ok := k.PublicKey.(*rsa.PublicKey); ok && pub.N.BitLen() < minRSA {
			return fmt.Errorf("RSA key has %d bits, at least %d are needed", pub.N.BitLen(), minRSA)
		}
	}
	return nil
}
