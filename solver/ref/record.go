package ref

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// kind of a ref.
type kind string

const (
	// kindLayer has a layer of its own over at most one parent.
	kindLayer kind = "layer"
	// kindStack has no layer of its own; Stack lists what it is made of.
	kindStack kind = "stack"
	// kindMutable is writable and has a name.
	kindMutable kind = "mutable"
	// kindActive is writable and known to this process only; never on disk.
	kindActive kind = "active"
)

// record is what refs.db holds for a ref.
type record struct {
	ID   string `json:"id"`
	Kind kind   `json:"kind"`
	// Parents are the refs it was made from, as listings show them; Stack the
	// layers it consists of. Both stay alive as long as the record.
	Parents []string `json:"parents,omitempty"`
	Stack   []string `json:"stack,omitempty"`
	// Portable is the ref whose layer can be laid over anything in place of this
	// one's: itself, another, or unknown; see Store.portable. Source is the ref
	// that this one is such a form of; it stays alive too.
	Portable string `json:"portable,omitempty"`
	Source   string `json:"source,omitempty"`
	// Snapshot and Lease name what containerd has.
	Snapshot string `json:"snapshot"`
	Lease    string `json:"lease"`
	// Key is the name of a mutable ref.
	Key string `json:"key,omitempty"`
	// DiffID of the own layer; empty until a blob was made.
	DiffID digest.Digest `json:"diffID,omitempty"`
	// Blobs of the own layer by variant, see blobVariant.
	Blobs map[string]blobRecord `json:"blobs,omitempty"`

	Description string            `json:"description,omitempty"`
	RecordType  string            `json:"type,omitempty"`
	CreatedAt   time.Time         `json:"created"`
	Kept        bool              `json:"kept,omitempty"`
	Infos       map[string]string `json:"infos,omitempty"`
}

// blobRecord is a blob of a layer.
type blobRecord struct {
	Descriptor ocispecs.Descriptor `json:"descriptor"`
	DiffID     digest.Digest       `json:"diffID"`
	// Original blobs came with an image and are passed on as they are.
	Original bool `json:"original,omitempty"`
	// Linked blobs take hardly any space beside the layer.
	Linked bool `json:"linked,omitempty"`
}

// owners returns the ids of all refs that the ref keeps alive.
func (r *record) owners() []string {
	ids := slices.Concat(r.Parents, r.Stack)
	if r.Source != "" {
		ids = append(ids, r.Source)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (r *record) encode() ([]byte, error) { return json.Marshal(r) }

func decodeRecord(id string, data []byte) (*record, error) {
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("decode record of ref %s: %w", id, err)
	}
	return r, nil
}

// usedRecord is when and how often a ref was used.
type usedRecord struct {
	last  time.Time
	count int64
}
