package local

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// listingMagic starts a listing file; the number is the format's version. The
// id of the ref follows, then the entries, each as its length (uvarint) and
// its protobuf message. A file that does not read whole counts as absent.
const listingMagic = "kiln-listing-1\n"

// Bounds of what is read back.
const (
	maxID          = 256
	maxEntryLength = 2 << 20
	// cached is how many listings stay in memory.
	cached = 8
)

// listings keeps the listing of the last transfer for each reuse key.
type listings struct {
	root string

	mu     sync.Mutex
	recent []cachedListing // most recent last
}

type cachedListing struct {
	key, id string
	listing files.Listing
}

func openListings(root string) (*listings, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("open listings of local sources: %w", err)
	}
	return &listings{root: root}, nil
}

func (l *listings) path(key string) string {
	return filepath.Join(l.root, digest.FromString(key).Encoded())
}

// get returns the ref and the listing stored under key.
func (l *listings) get(key string) (string, files.Listing, bool) {
	l.mu.Lock()
	for i := len(l.recent) - 1; i >= 0; i-- {
		if c := l.recent[i]; c.key == key {
			l.mu.Unlock()
			return c.id, c.listing, true
		}
	}
	l.mu.Unlock()
	f, err := os.Open(l.path(key))
	if err != nil {
		return "", nil, false
	}
	defer f.Close()
	id, listing, err := readListing(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return "", nil, false
	}
	l.remember(key, id, listing)
	return id, listing, true
}

func (l *listings) remember(key, id string, listing files.Listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.recent[:0]
	for _, c := range l.recent {
		if c.key != key {
			kept = append(kept, c)
		}
	}
	l.recent = append(kept, cachedListing{key, id, listing})
	if len(l.recent) > cached {
		l.recent = append([]cachedListing(nil), l.recent[1:]...)
	}
}

// put replaces the listing under key at once or not at all. It is not synced:
// after a power loss the ref it names may be gone, which get's caller notices.
func (l *listings) put(key, id string, listing files.Listing) error {
	f, err := os.CreateTemp(l.root, ".new-*")
	if err != nil {
		return fmt.Errorf("store listing: %w", err)
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriterSize(f, 1<<16)
	if err := errors.Join(writeListing(w, id, listing), w.Flush(), f.Close()); err != nil {
		return fmt.Errorf("store listing: %w", err)
	}
	if err := os.Rename(f.Name(), l.path(key)); err != nil {
		return fmt.Errorf("store listing: %w", err)
	}
	l.remember(key, id, listing)
	return nil
}

func writeListing(w io.Writer, id string, listing files.Listing) error {
	buf := append([]byte(listingMagic), binary.AppendUvarint(nil, uint64(len(id)))...)
	buf = append(buf, id...)
	buf = binary.AppendUvarint(buf, uint64(len(listing)))
	if _, err := w.Write(buf); err != nil {
		return err
	}
	for _, st := range listing {
		buf = binary.AppendUvarint(buf[:0], uint64(proto.Size(st)))
		var err error
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf, st); err != nil {
			return err
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func readListing(r *bufio.Reader) (string, files.Listing, error) {
	magic := make([]byte, len(listingMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != listingMagic {
		return "", nil, errors.New("not a listing of this version")
	}
	id, err := readBytes(r, maxID)
	if err != nil {
		return "", nil, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return "", nil, err
	}
	var listing files.Listing
	for range n {
		b, err := readBytes(r, maxEntryLength)
		if err != nil {
			return "", nil, err
		}
		st := &fsutil.Stat{}
		if err := proto.Unmarshal(b, st); err != nil {
			return "", nil, err
		}
		listing = append(listing, st)
	}
	return string(id), listing, nil
}

func readBytes(r *bufio.Reader, limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("length %d is over the limit %d", n, limit)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}
