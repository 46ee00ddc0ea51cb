package http

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
)

const (
	// maxRecords is how many records are kept; the older half goes then.
	maxRecords = 8192
	// maxRecord bounds one record, in bytes.
	maxRecord = 32 << 10
)

// found is a file that was transferred.
type found struct {
	// ID of the ref that has it; the ref may be gone.
	ID       string
	Digest   digest.Digest
	Filename string
	// LastModified as the server said, in seconds since the epoch.
	LastModified *int64 `json:",omitempty"`
}

// record is a found with what makes it worth asking again.
type record struct {
	found
	// ETag as the server sent it, with the mark of weak ones.
	ETag string `json:",omitempty"`
	// Since is for If-Modified-Since; empty if it would not be telling.
	Since string `json:",omitempty"`
}

// records are files in a directory, named by spec.question.
type records struct {
	root string

	mu sync.Mutex
	// n is about how many there are.
	n int
}

func openRecords(root string) (*records, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of URL records: %w", err)
	}
	names, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("read URL records: %w", err)
	}
	return &records{root: root, n: len(names)}, nil
}

// get returns a record; any fault means that there is none.
func (r *records) get(question string) (record, bool) {
	f, err := os.Open(filepath.Join(r.root, question))
	if err != nil {
		return record{}, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	var rec record
	if err != nil || json.Unmarshal(b, &rec) != nil || rec.ID == "" || rec.Digest.Validate() != nil {
		return record{}, false
	}
	return rec, true
}

// put replaces a record at once or not at all. It is not synced: what it names
// is looked up before it is believed.
func (r *records) put(question string, rec record) error {
	b, err := json.Marshal(rec)
	if err != nil || len(b) > maxRecord {
		// An absurd header of the server: not worth remembering.
		return r.drop(question)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n >= maxRecords {
		r.thin()
	}
	f, err := os.CreateTemp(r.root, ".new-*")
	if err != nil {
		return fmt.Errorf("store URL record: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(r.root, question))
	}
	if err != nil {
		return fmt.Errorf("store URL record: %w", err)
	}
	r.n++
	return nil
}

// drop removes a record.
func (r *records) drop(question string) error {
	err := os.Remove(filepath.Join(r.root, question))
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove URL record: %w", err)
	}
	return nil
}

// thin removes the older half; what fails is tried again next time. The lock is
// held.
func (r *records) thin() {
	names, err := os.ReadDir(r.root)
	if err != nil {
		return
	}
	type aged struct {
		name string
		at   int64
	}
	var all []aged
	for _, n := range names {
		if info, err := n.Info(); err == nil {
			all = append(all, aged{n.Name(), info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(all, func(a, b aged) int { return cmp.Compare(a.at, b.at) })
	r.n = len(all)
	for _, a := range all[:max(0, len(all)-maxRecords/2)] {
		if os.Remove(filepath.Join(r.root, a.name)) == nil {
			r.n--
		}
	}
}
