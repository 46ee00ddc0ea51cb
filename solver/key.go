package solver

import (
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Key is the identity of the value on an edge: a node of an immutable tree
// whose leaves are ops without inputs or contents of inputs. Keys are made by
// NewKey and shared freely; a tree may be deep, so code that walks it should
// stop at IDs it has seen.
type Key struct {
	// Digest is the op's identity (KeySpec.Digest or .Content), or the digest
	// of a content.
	Digest digest.Digest
	// Output is the number of the op's output; -1 for a content key, which has
	// no op.
	Output int
	// Inputs has one entry for each input of the op; empty for leaves.
	Inputs []KeyInput
	// Volatile keys must not outlive the process nor leave it. A key with a
	// volatile input is volatile.
	Volatile bool

	once sync.Once
	id   digest.Digest
}

// KeyInput is one input of a key.
type KeyInput struct {
	// Selector narrows the input; may be empty.
	Selector digest.Digest
	// Key of the input's value.
	Key *Key
}

// ContentOutput is the Output of keys that stand for a content.
const ContentOutput = -1

// NewKey returns the key of output number output of an op.
func NewKey(op digest.Digest, output int, volatile bool, inputs []KeyInput) *Key {
	for _, in := range inputs {
		volatile = volatile || in.Key.Volatile
	}
	return &Key{Digest: op, Output: output, Inputs: inputs, Volatile: volatile}
}

// NewContentKey returns the key of a content, however it was made.
func NewContentKey(content digest.Digest) *Key {
	return &Key{Digest: content, Output: ContentOutput}
}

// ID returns the digest that names the key. For a key without inputs it is
// the sha256 of "<digest>@<output>" (the form that cache exports use); inputs
// are appended as "|<selector>:<input id>". A content key is its own digest.
func (k *Key) ID() digest.Digest {
	k.once.Do(func() {
		if k.Output == ContentOutput && len(k.Inputs) == 0 {
			k.id = k.Digest
			return
		}
		var b strings.Builder
		b.WriteString(k.Digest.String())
		b.WriteByte('@')
		b.WriteString(strconv.Itoa(k.Output))
		for _, in := range k.Inputs {
			b.WriteByte('|')
			b.WriteString(in.Selector.String())
			b.WriteByte(':')
			b.WriteString(in.Key.ID().String())
		}
		k.id = digest.FromString(b.String())
	})
	return k.id
}
