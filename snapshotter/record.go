package snapshotter

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/filters"
)

// record is what the database holds for one name. Timestamps are Unix
// nanoseconds.
type record struct {
	ID      uint64            `json:"id"`
	Kind    snapshots.Kind    `json:"kind"`
	Parent  string            `json:"parent,omitempty"`
	Refs    []uint64          `json:"refs,omitempty"` // layers kept alive: the parent and the upper ends of the spans
	Labels  map[string]string `json:"labels,omitempty"`
	Created int64             `json:"created"`
	Updated int64             `json:"updated"`
	Inodes  int64             `json:"inodes,omitempty"` // of a committed layer
	Size    int64             `json:"size,omitempty"`   // of a committed layer, bytes

	volatile bool // in memory only
	sealing  bool // volatile, and a Commit is under way
}

func (r *record) encode() ([]byte, error) { return json.Marshal(r) }

func decodeRecord(key string, b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("decode record of snapshot %q: %w", key, err)
	}
	return r, nil
}

// info is the record as clients see it.
func (r *record) info(name string) snapshots.Info {
	return snapshots.Info{
		Kind:    r.Kind,
		Name:    name,
		Parent:  r.Parent,
		Labels:  r.Labels,
		Created: time.Unix(0, r.Created).UTC(),
		Updated: time.Unix(0, r.Updated).UTC(),
	}
}

// setLabels replaces the labels. A label with an empty value is absent, as in
// containerd's own stores.
func (r *record) setLabels(labels map[string]string) {
	r.Labels = maps.Clone(labels)
	maps.DeleteFunc(r.Labels, func(_, v string) bool { return v == "" })
}

// encodeStack packs layer numbers, the uppermost first.
func encodeStack(ids []uint64) []byte {
	b := make([]byte, 0, 3*len(ids))
	for _, id := range ids {
		b = binary.AppendUvarint(b, id)
	}
	return b
}

func decodeStack(b []byte) ([]uint64, error) {
	ids := make([]uint64, 0, len(b)/2)
	for len(b) > 0 {
		id, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("decode layer stack: bad number after %d layers", len(ids))
		}
		ids, b = append(ids, id), b[n:]
	}
	return ids, nil
}

// filterAdaptor lets containerd's filter language look at a snapshot.
func filterAdaptor(info snapshots.Info) filters.Adaptor {
	return filters.AdapterFunc(func(field []string) (string, bool) {
		if len(field) == 0 {
			return "", false
		}
		switch field[0] {
		case "name":
			return info.Name, true
		case "parent":
			return info.Parent, true
		case "kind":
			return strings.ToLower(info.Kind.String()), true
		case "labels":
			v, ok := info.Labels[strings.Join(field[1:], ".")]
			return v, ok
		}
		return "", false
	})
}
