package files_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// script is a sender that says what is written in a byte string, one packet
// after each length, and listens to nothing.
type script struct {
	mu   sync.Mutex
	rest []byte
	over bool
}

// Send takes anything.
func (*script) Send(*fsutil.Packet) error { return nil }

// Recv returns the next packet that can be decoded.
func (s *script) Recv() (*fsutil.Packet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.over && len(s.rest) >= 2 {
		n := min(int(binary.LittleEndian.Uint16(s.rest)), len(s.rest)-2)
		data := s.rest[2 : 2+n]
		s.rest = s.rest[2+n:]
		p := &fsutil.Packet{}
		if proto.Unmarshal(data, p) == nil {
			return p, nil
		}
	}
	return nil, io.EOF
}

// Abort ends the script.
func (s *script) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// scripted writes packets as a script.
func scripted(f *testing.F, packets ...*fsutil.Packet) []byte {
	f.Helper()
	var b bytes.Buffer
	for _, p := range packets {
		data, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		b.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(data))))
		b.Write(data)
	}
	return b.Bytes()
}

// FuzzPackets lets strangers send a directory: whatever they say, nothing
// outside the receiver's directory changes, and what was accepted can be
// listed.
func FuzzPackets(f *testing.F) {
	stat := func(st *fsutil.Stat) *fsutil.Packet { return &fsutil.Packet{Stat: st} }
	dir, file := uint32(fs.ModeDir|0o755), uint32(0o644)
	end, fin := stat(nil), &fsutil.Packet{Type: fsutil.Packet_PACKET_FIN}
	f.Add(scripted(f, stat(&fsutil.Stat{Path: "d", Mode: dir}), stat(&fsutil.Stat{Path: "d/f", Mode: file, Size: 1}), end,
		&fsutil.Packet{Type: fsutil.Packet_PACKET_DATA, ID: 1, Data: []byte("x")}, &fsutil.Packet{Type: fsutil.Packet_PACKET_DATA, ID: 1}, fin))
	f.Add(scripted(f, stat(&fsutil.Stat{Path: "l", Mode: uint32(fs.ModeSymlink | 0o777), Linkname: "../outside"}),
		stat(&fsutil.Stat{Path: "l/canary", Mode: file}), end, &fsutil.Packet{Type: fsutil.Packet_PACKET_DATA, ID: 1}, fin))
	f.Add(scripted(f, stat(&fsutil.Stat{Path: "../outside/canary", Mode: file}), end, fin))
	f.Add(scripted(f, stat(&fsutil.Stat{Path: "a", Mode: file}), stat(&fsutil.Stat{Path: "b", Mode: file, Linkname: "../outside/canary"}), end, fin))
	f.Add(scripted(f, stat(&fsutil.Stat{Path: "x", Mode: file, Xattrs: map[string][]byte{"trusted.overlay.opaque": []byte("y")}}), end, fin))
	f.Fuzz(func(t *testing.T, data []byte) {
		root := t.TempDir()
		canary := filepath.Join(root, "outside", "canary")
		if err := os.MkdirAll(filepath.Dir(canary), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(root, "dst")
		if err := os.Mkdir(dst, 0o755); err != nil {
			t.Fatal(err)
		}
		m := &files.Mirror{Open: func() (*files.Writer, error) { return files.NewWriter(dst, false) }}
		defer m.Close()
		if files.Receive(t.Context(), &script{rest: data}, m) == nil {
			if _, _, err := m.Finish(); err != nil {
				t.Logf("finish: %v", err)
			}
		}
		if text, err := os.ReadFile(canary); err != nil || string(text) != "alive" {
			t.Fatalf("the file outside is %q, %v", text, err)
		}
		outside, err := os.ReadDir(root)
		if err != nil || len(outside) != 2 {
			t.Fatalf("beside the directory there is %v, %v", outside, err)
		}
	})
}
