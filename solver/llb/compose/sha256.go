package compose

// Digests of ops need it, and a program that only composes graphs may have no
// other reason to link it.
import _ "crypto/sha256"
