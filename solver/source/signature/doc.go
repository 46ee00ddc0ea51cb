// Package signature checks detached signatures of what sources bring: OpenPGP
// and SSH. It promises that a nil error means that one of the given keys, of
// acceptable strength and not revoked, made a signature over exactly these
// bytes for this purpose.
//
// # Vocabulary
//
//   - Signed: the bytes, read once for each signature that a given key may
//     have made.
//   - Signature: in its text form, "-----BEGIN PGP SIGNATURE-----" or
//     "-----BEGIN SSH SIGNATURE-----"; an OpenPGP one may hold several, of
//     which one that verifies is enough.
//   - Keys: OpenPGP public keys, one or more text blocks one after another; or
//     lines as in SSH's authorized_keys.
//   - Policy: how strict to be about what has expired.
//
// # Limits
//
// A signature text has at most 64 KiB, keys 1 MiB, at most 32 signatures are
// tried. Hashes are SHA-256, 384 and 512; RSA keys have at least 2048 bits.
//
// # Concurrency
//
// There is no state: everything may be called from several goroutines.
//
// # What it does not do
//
// It asks no key server, keeps no keys, and knows no web of trust: the keys are
// the trust.
package signature
