package emulate

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// probeTimeout bounds one probe; an interpreter that hangs does not work.
const probeTimeout = 5 * time.Second

// architectures are probed in this order, which is the one they are listed in.
var architectures = []string{"amd64", "arm64", "riscv64", "ppc64", "ppc64le", "s390x", "386", "mips64le", "mips64", "loong64", "arm"}

// order is a way to write numbers.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// program is the smallest program of an architecture: it exits with 0.
type program struct {
	machine uint16
	flags   uint32 // of the ELF header
	wide    bool   // 64 bits
	order   order
	code    []byte
}

// words are instructions of 32 bits.
func words(o order, list ...uint32) []byte {
	var out []byte
	for _, w := range list {
		out = o.AppendUint32(out, w)
	}
	return out
}

// programs by architecture. The code of each one puts 0 into the register of
// the first argument and the number of exit into that of system calls.
var programs = map[string]program{
	"amd64":    {62, 0, true, binary.LittleEndian, []byte{0x31, 0xff, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05}},
	"386":      {3, 0, false, binary.LittleEndian, []byte{0x31, 0xdb, 0xb8, 1, 0, 0, 0, 0xcd, 0x80}},
	"arm64":    {183, 0, true, binary.LittleEndian, words(binary.LittleEndian, 0xd2800000, 0xd2800ba8, 0xd4000001)},
	"arm":      {40, 0x05000000, false, binary.LittleEndian, words(binary.LittleEndian, 0xe3a00000, 0xe3a07001, 0xef000000)},
	"riscv64":  {243, 0, true, binary.LittleEndian, words(binary.LittleEndian, 0x00000513, 0x05d00893, 0x00000073)},
	"ppc64":    {21, 2, true, binary.BigEndian, words(binary.BigEndian, 0x38600000, 0x38000001, 0x44000002)},
	"ppc64le":  {21, 2, true, binary.LittleEndian, words(binary.LittleEndian, 0x38600000, 0x38000001, 0x44000002)},
	"s390x":    {22, 0, true, binary.BigEndian, []byte{0xa7, 0x29, 0, 0, 0x0a, 0x01}},
	"mips64":   {8, 0x60000000, true, binary.BigEndian, words(binary.BigEndian, 0x24040000, 0x240213c2, 0x0000000c)},
	"mips64le": {8, 0x60000000, true, binary.LittleEndian, words(binary.LittleEndian, 0x24040000, 0x240213c2, 0x0000000c)},
	"loong64":  {258, 0x43, true, binary.LittleEndian, words(binary.LittleEndian, 0x00150004, 0x0381740b, 0x002b0000)},
}

// loadAddress is where programs are loaded: a multiple of any size of pages.
const loadAddress = 0x400000

// elf returns the program as a file: a header, one segment with everything in
// it, the code.
func (p program) elf() []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			// Writing numbers to memory does not fail.
			_ = binary.Write(&b, p.order, v)
		}
	}
	// word is an address or a size.
	word := func(v uint64) any {
		if p.wide {
			return v
		}
		return uint32(v)
	}
	class, header, segment := byte(1), uint64(52), uint64(32)
	if p.wide {
		class, header, segment = 2, 64, 56
	}
	data := byte(1)
	if p.order == order(binary.BigEndian) {
		data = 2
	}
	start := header + segment
	size := start + uint64(len(p.code))
	b.Write([]byte{0x7f, 'E', 'L', 'F', class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	put(uint16(2), p.machine, uint32(1), word(loadAddress+start), word(header), word(0), p.flags)
	put(uint16(header), uint16(segment), uint16(1), uint16(0), uint16(0), uint16(0))
	const load, readExecute, align = uint32(1), uint32(5), 0x10000
	if p.wide {
		put(load, readExecute, word(0), word(loadAddress), word(loadAddress), word(size), word(size), word(align))
	} else {
		put(load, word(0), word(loadAddress), word(loadAddress), word(size), word(size), readExecute, word(align))
	}
	b.Write(p.code)
	return b.Bytes()
}

// probe reports whether this machine runs programs of an architecture.
func probe(ctx context.Context, arch string) bool {
	p, ok := programs[arch]
	if !ok {
		return false
	}
	f, err := memoryFile(p.elf())
	if err != nil {
		return false
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	for range 5 {
		cmd := exec.CommandContext(ctx, "/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{f}
		err = cmd.Run()
		// Another goroutine that starts a process at this moment may have the
		// file open for writing, for an instant.
		if !errors.Is(err, unix.ETXTBSY) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return err == nil
}

// memoryFile returns a file in memory, open for reading only: nobody executes
// what is open for writing. Directories may not allow execution.
func memoryFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make file in memory: %w", err)
	}
	w := os.NewFile(uintptr(fd), "probe")
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("write file in memory: %w", err)
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}
