package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// workers copy the files of a directory, if there are at least manyFiles.
	workers   = 2
	manyFiles = 64
	// copyBuffer is how much is read at once of files that the kernel does not
	// copy by itself.
	copyBuffer = 128 << 10
	// smallFile is up to which size two system calls beat the kernel's copying.
	smallFile = 64 << 10
)

// job is a file to be copied.
type job struct {
	name string
	st   unix.Stat_t
}

// batch copies the files of one directory.
type batch struct {
	*copier
	lv   *level
	jobs []job
}

// run copies all jobs. Further names of a file follow when the first is there.
func (b *batch) run(ctx context.Context) error {
	if len(b.jobs) == 0 {
		return nil
	}
	to, err := b.made(b.lv)
	if err != nil {
		return err
	}
	if _, err := to.writable(); err != nil { // before several workers want it
		return err
	}
	var firsts, others []job
	for _, j := range b.jobs {
		if b.anotherName(&j.st, to, j.name) {
			others = append(others, j)
		} else {
			firsts = append(firsts, j)
		}
	}
	if err := b.copyAll(ctx, firsts, to); err != nil {
		return err
	}
	for _, j := range others {
		if err := b.link(&j.st, to, j.name); err != nil {
			return err
		}
	}
	return nil
}

// copyAll copies files that are not yet there, in parallel if there are many.
func (b *batch) copyAll(ctx context.Context, jobs []job, to *dir) error {
	from := b.links.open(b.lv.src)
	defer from.close()
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	n := 1
	if len(jobs) >= manyFiles {
		n = workers
	}
	for range n {
		group.Go(func() error {
			buf := make([]byte, copyBuffer)
			for {
				// Taken one by one: files differ too much in size for halves.
				i := next.Add(1) - 1
				if i >= int64(len(jobs)) || ctx.Err() != nil {
					return context.Cause(ctx)
				}
				j := &jobs[i]
				o := one{src: b.lv.src, name: j.name, st: &j.st, dst: to, to: j.name, from: from, buf: buf}
				if err := b.copyOne(&o); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// file copies a single file.
func (k *copier) file(ctx context.Context, from *dir, name string, st *unix.Stat_t, to *dir, as string) error {
	if as == "" {
		return fmt.Errorf("cannot replace to directory %s with file", to.path)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if _, err := to.writable(); err != nil {
		return err
	}
	dirs := k.links.open(from)
	defer dirs.close()
	return k.copyOne(&one{src: from, name: name, st: st, dst: to, to: as, from: dirs, buf: make([]byte, copyBuffer)})
}

// anotherName reports whether the file was copied under another name already,
// and otherwise remembers this one.
func (k *copier) anotherName(st *unix.Stat_t, to *dir, name string) bool {
	if !isRegular(st) || st.Nlink < 2 {
		return false
	}
	key := keyOf(st)
	if _, ok := k.first[key]; ok {
		return true
	}
	k.first[key] = to.below(name)
	return false
}

// link makes one more name of a copy.
func (k *copier) link(st *unix.Stat_t, to *dir, name string) error {
	if err := k.replace(to, name, st); err != nil {
		return err
	}
	if err := to.makeRoom(name); err != nil {
		return err
	}
	// The first name was made by this copy and has no links on the way.
	dirPath, base := path.Split(k.first[keyOf(st)])
	at, err := k.dst.resolve(dirPath, false)
	if err != nil {
		return err
	}
	defer at.close()
	if len(at.rest) > 0 || at.dir.up == nothing {
		return to.fault("link", name, unix.ENOENT)
	}
	up, err := to.writable()
	if err != nil {
		return err
	}
	if err := unix.Linkat(at.dir.up, base, up, name, 0); err != nil {
		return fmt.Errorf("failed to create hard link: %w", to.fault("link", name, err))
	}
	return nil
}

// one is the copy of one file that is no directory.
type one struct {
	src  *dir
	name string
	st   *unix.Stat_t
	dst  *dir
	to   string
	// from are the places where the file itself may be found, to link to.
	from *layerDirsOf
	buf  []byte
}

// copyOne makes the copy of a file, or a name of the file itself. The
// destination directory has been copied up.
func (k *copier) copyOne(o *one) error {
	if !o.dst.made { // else there is nothing in the way
		if err := k.replace(o.dst, o.to, o.st); err != nil {
			return err
		}
		if err := o.dst.makeRoom(o.to); err != nil {
			return err
		}
	}
	switch {
	case isRegular(o.st):
		if k.unchanged(o.st) && k.links.link(o) {
			return nil
		}
		if err := k.copyRegular(o); err != nil {
			return fmt.Errorf("failed to copy files: %w", err)
		}
		return nil
	case isSymlink(o.st):
		target, err := o.src.readlink(o.name)
		if err != nil {
			return fmt.Errorf("failed to read link: %w", o.src.fault("readlink", o.name, err))
		}
		if err := unix.Symlinkat(target, o.dst.up, o.to); err != nil {
			return o.dst.fault("symlink", o.to, err)
		}
	default:
		if err := makeNode(o); err != nil {
			return fmt.Errorf("failed to create device: %w", err)
		}
	}
	return k.info(o)
}

// unchanged reports whether the copy of a file has the attributes it has.
func (c *copying) unchanged(st *unix.Stat_t) bool {
	uid, gid := c.ownerFor(st)
	return c.times == nil && uid == int(st.Uid) && gid == int(st.Gid) && c.mode(st) == st.Mode&permBits
}

// makeNode makes a device or a pipe. A socket becomes an empty file: nobody
// listens on the copy.
func makeNode(o *one) error {
	mode, dev := o.st.Mode, int(o.st.Rdev)
	if mode&unix.S_IFMT == unix.S_IFSOCK {
		mode = mode&permBits | unix.S_IFREG
	}
	// Attack: device 0:0 is a whiteout, which would delete files of other
	// layers wherever this one is stacked.
	if mode&unix.S_IFMT == unix.S_IFCHR && dev == 0 {
		return o.dst.fault("mknod", o.to, unix.EPERM)
	}
	if err := unix.Mknodat(o.dst.up, o.to, mode, dev); err != nil {
		return o.dst.fault("mknod", o.to, err)
	}
	return nil
}

// info gives the copy of a link, device or pipe its attributes, by name.
func (k *copier) info(o *one) error {
	uid, gid := k.ownerFor(o.st)
	if err := unix.Fchownat(o.dst.up, o.to, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return o.dst.fault("chown", o.to, err)
	}
	// Links have no mode. What was just made is no link, so none is followed.
	if !isSymlink(o.st) {
		if err := unix.Fchmodat(o.dst.up, o.to, k.mode(o.st), 0); err != nil {
			return o.dst.fault("chmod", o.to, err)
		}
	}
	// After the owner, which would clear capabilities.
	if err := copyXattrs(namePath(o.src.up, o.name), namePath(o.dst.up, o.to)); err != nil {
		return o.dst.fault("copy attributes of", o.to, err)
	}
	if err := setTimes(o.dst.up, o.to, k.timesFor(o.st)); err != nil {
		return o.dst.fault("utimes", o.to, err)
	}
	return nil
}

// copyRegular copies bytes and attributes of a file.
func (k *copier) copyRegular(o *one) error {
	// It was a regular file when we looked; O_NONBLOCK is for one that is not.
	in, err := unix.Openat(o.src.up, o.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return o.src.fault("open", o.name, err)
	}
	defer unix.Close(in)
	out, err := unix.Openat(o.dst.up, o.to, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return o.dst.fault("open", o.to, err)
	}
	defer unix.Close(out)
	if err := copyBytes(in, out, o.st.Size, o.buf); err != nil {
		return o.dst.fault("write", o.to, err)
	}
	uid, gid := k.ownerFor(o.st)
	if err := unix.Fchown(out, uid, gid); err != nil {
		return o.dst.fault("chown", o.to, err)
	}
	// After the owner: a new owner takes set-id bits and capabilities away.
	if err := unix.Fchmod(out, k.mode(o.st)); err != nil {
		return o.dst.fault("chmod", o.to, err)
	}
	if err := following.copy(filePath(in), filePath(out)); err != nil {
		return o.dst.fault("copy attributes of", o.to, err)
	}
	if err := setTimes(o.dst.up, o.to, k.timesFor(o.st)); err != nil {
		return o.dst.fault("utimes", o.to, err)
	}
	return nil
}

// copyBytes copies all of in. Large files the kernel copies, sharing blocks
// where the file system can.
func copyBytes(in, out int, size int64, buf []byte) error {
	// Neither call says how much is left if the file is shorter than it was
	// said to be, so both go on to its end.
	for size > smallFile {
		n, err := unix.CopyFileRange(in, nil, out, nil, 1<<30, 0)
		if err != nil || n == 0 {
			break // the rest, or all if it cannot, goes the other way
		}
	}
	for {
		n, err := unix.Read(in, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
		for b := buf[:n]; len(b) > 0; {
			w, err := unix.Write(out, b)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				return err
			case w == 0:
				return io.ErrShortWrite
			}
			b = b[w:]
		}
	}
}
