package runc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bundles of certificates, where distributions have them. The first one that
// there is gets the proxy's certificate: the others lead to it or are not read.
var trustStores = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// The certificate is set off by comments, which tools skip and people find.
const (
	trustBegin = "\n# buildkit proxy CA begin\n"
	trustEnd   = "# buildkit proxy CA end\n"
)

// maxTrustStore bounds the size of a bundle of certificates, in bytes.
const maxTrustStore = 10 << 20

// trust adds the network's certificate to the container's bundle of
// certificates, and takes it out again when the container is gone. The file
// stays what it is, so that a process may replace it: an upgrade of the
// bundle's package would fail on a mount.
func (b *bundle) trust() error {
	if len(b.net.ca) == 0 {
		return nil
	}
	block := append(append([]byte(trustBegin), bytes.TrimRight(b.net.ca, "\n")...), "\n"+trustEnd...)
	for _, path := range trustStores {
		f, err := openBeneath(b.root, path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		// The file is at its place from here on, even if writing fails.
		b.undo = append(b.undo, func() error { return distrust(b.root, path, block, fi.ModTime()) })
		if _, err := f.WriteAt(block, fi.Size()); err != nil {
			return fmt.Errorf("add the proxy's certificate to %s: %w", path, err)
		}
		return nil
	}
	return nil
}

// openBeneath opens a regular file for reading and writing, with root as the
// root of the path and of links in it. What is not a regular file is looked at
// but not opened: opening a device may do things.
func openBeneath(root, path string) (*os.File, error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	found := os.NewFile(uintptr(fd), path)
	defer found.Close()
	fi, err := found.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxTrustStore {
		return nil, os.ErrNotExist
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
}

// distrust takes the block out of the file at path, if it is still there. A
// file that nobody else changed is what it was, its time included.
func distrust(root, path string, block []byte, modified time.Time) error {
	f, err := openBeneath(root, path)
	if err != nil {
		// The process replaced it with something else, or removed it.
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	at := bytes.Index(data, block)
	if at < 0 {
		return nil
	}
	rest := data[at+len(block):]
	if _, err := f.WriteAt(rest, int64(at)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Truncate(int64(at + len(rest))); err != nil {
		return fmt.Errorf("shorten %s: %w", path, err)
	}
	if len(rest) > 0 {
		// Something was added behind: the file is a new one anyway.
		return nil
	}
	return setTimes(f, modified)
}

// setTimes sets the time of an open file.
func setTimes(f *os.File, modified time.Time) error {
	t := unix.NsecToTimespec(modified.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, t}, 0); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}
