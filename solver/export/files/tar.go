package files

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// xattrRecord begins the names of PAX records with extended attributes, as all
// other programs spell it.
const xattrRecord = "SCHILY.xattr."

// tarBuffer is how much is collected before it is sent, in bytes: headers are
// small and messages are not free.
const tarBuffer = 256 << 10

// writeTar writes a tree as a tar. The bytes depend on nothing but the tree:
// names of users, times of access and parts of seconds are left out.
func writeTar(ctx context.Context, w io.Writer, tree files.Tree) error {
	buf := bufio.NewWriterSize(w, tarBuffer)
	tw := tar.NewWriter(buf)
	err := tree.Walk(ctx, func(st *fsutil.Stat) error {
		if err := tw.WriteHeader(header(st)); err != nil {
			return fmt.Errorf("write tar header of %s: %w", st.GetPath(), err)
		}
		if !fs.FileMode(st.GetMode()).IsRegular() || isHardLink(st) || st.GetSize() == 0 {
			return nil
		}
		return copyFile(tw, tree, st)
	})
	if err != nil {
		return fmt.Errorf("write tar: %w", err)
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("write tar: %w", err)
	}
	return buf.Flush()
}

// copyFile writes exactly as many bytes as the header says.
func copyFile(w io.Writer, tree files.Tree, st *fsutil.Stat) error {
	f, err := tree.Open(st.GetPath())
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(w, f, st.GetSize()); err != nil {
		return fmt.Errorf("read %s: %w", st.GetPath(), err)
	}
	return nil
}

// header describes an entry as tar does.
func header(st *fsutil.Stat) *tar.Header {
	mode := fs.FileMode(st.GetMode())
	h := &tar.Header{
		Name:     st.GetPath(),
		Mode:     int64(mode.Perm()),
		Uid:      int(st.GetUid()),
		Gid:      int(st.GetGid()),
		ModTime:  time.Unix(0, st.GetModTime()).Truncate(time.Second),
		Linkname: st.GetLinkname(),
	}
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			h.Mode |= value
		}
	}
	switch {
	case mode.IsDir():
		h.Typeflag = tar.TypeDir
		h.Name += "/"
	case mode&fs.ModeSymlink != 0:
		h.Typeflag = tar.TypeSymlink
	case mode&fs.ModeNamedPipe != 0:
		h.Typeflag = tar.TypeFifo
	case mode&fs.ModeCharDevice != 0:
		h.Typeflag = tar.TypeChar
	case mode&fs.ModeDevice != 0:
		h.Typeflag = tar.TypeBlock
	case isHardLink(st):
		h.Typeflag = tar.TypeLink
	default:
		h.Typeflag = tar.TypeReg
		h.Size = st.GetSize()
	}
	if mode&fs.ModeDevice != 0 {
		h.Devmajor, h.Devminor = st.GetDevmajor(), st.GetDevminor()
	}
	for k, v := range st.GetXattrs() {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrRecord+k] = string(v)
	}
	return h
}
