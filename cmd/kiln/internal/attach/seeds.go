package attach

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Files of the Docker configuration that other clients of this user read and
// write too: their builds may then share tokens with ours.
const (
	seedFile = ".token_seed"
	seedLock = ".token_seed.lock"
	// maxSeeds bounds the file, in bytes.
	maxSeeds = 1 << 20
	// seedSize is the length of a new seed, in bytes.
	seedSize = 16
)

// seeds are random secrets of this user, one for each registry. They are kept
// in a file if that can be written, and in memory anyway.
type seeds struct {
	dir string

	mu    sync.Mutex
	known map[string]seed
}

// seed is the form in the file.
type seed struct {
	Seed []byte
}

// get returns the seed of a registry, made at the first call for it.
func (s *seeds) get(host string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.known[host]; ok {
		return one.Seed, nil
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	all, err := s.read()
	if err != nil {
		return nil, err
	}
	one, ok := all[host]
	if !ok {
		one = seed{make([]byte, seedSize)}
		rand.Read(one.Seed) // Never fails.
		all[host] = one
		if err := s.write(all); err != nil {
			return nil, err
		}
	}
	s.known = all
	return one.Seed, nil
}

// harmless errors come from a configuration that is read-only or not there:
// seeds are then good for this process.
func harmless(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) || errors.Is(err, unix.ENOTDIR)
}

// lock keeps other processes out.
func (s *seeds) lock() (unlock func(), err error) {
	none := func() {}
	if err := os.MkdirAll(s.dir, 0o700); err != nil && !harmless(err) {
		return none, err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, seedLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if harmless(err) {
			err = nil
		}
		return none, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return none, errors.Join(err, f.Close())
	}
	return func() { f.Close() }, nil
}

// read returns all seeds. A file that was cut off or is no JSON counts as
// empty: nothing is lost but tokens, which are fetched again.
func (s *seeds) read() (map[string]seed, error) {
	all := map[string]seed{}
	for host, one := range s.known {
		all[host] = one
	}
	f, err := os.Open(filepath.Join(s.dir, seedFile))
	if err != nil {
		if harmless(err) {
			err = nil
		}
		return all, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || fi.Size() > maxSeeds {
		return all, err
	}
	stored := map[string]seed{}
	if json.NewDecoder(f).Decode(&stored) == nil {
		for host, one := range stored {
			if len(one.Seed) > 0 {
				all[host] = one
			}
		}
	}
	return all, nil
}

// write replaces the file.
func (s *seeds) write(all map[string]seed) error {
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, seedFile), data, 0o600); err != nil && !harmless(err) {
		return err
	}
	return nil
}
