package compose

import (
	_ "crypto/sha256" // digests of ops need it, and a program that only composes graphs may not link it otherwise
)
