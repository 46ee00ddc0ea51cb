package runc

import (
	"encoding/binary"
	"io"
	"os"
	"path"
	"sync"
)

// elfHead is what of an ELF header is the same whatever the width of addresses.
const elfHead = 20

// elfMachine is what says for which machine a program is: the width of its
// addresses, the order of its bytes, and the processor.
type elfMachine struct {
	class, order byte
	processor    uint16
}

// readMachine reads it from a file; ok is false for what is no ELF file.
func readMachine(r io.Reader) (m elfMachine, ok bool) {
	var head [elfHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:4]) != "\x7fELF" {
		return elfMachine{}, false
	}
	m = elfMachine{class: head[4], order: head[5], processor: binary.LittleEndian.Uint16(head[18:])}
	if m.order == 2 {
		m.processor = binary.BigEndian.Uint16(head[18:])
	}
	return m, true
}

// ownMachine is what this program was made for. It does not change.
var ownMachine = sync.OnceValues(func() (elfMachine, bool) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return elfMachine{}, false
	}
	defer f.Close()
	return readMachine(f)
})

// isNative tells if a file in a root is a program that this machine runs by
// itself.
func isNative(root, name string) bool {
	own, known := ownMachine()
	if !known || !path.IsAbs(name) {
		return false
	}
	f, err := openProgram(root, name)
	if err != nil {
		return false
	}
	defer f.Close()
	m, ok := readMachine(f)
	return ok && m == own
}
