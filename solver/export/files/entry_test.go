package files

import (
	"archive/tar"
	"io/fs"
	"reflect"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

func TestEntryMap(t *testing.T) {
	epoch := time.Unix(9, 0)
	keep := entryMap(&epoch)
	st := &fsutil.Stat{Mode: uint32(fs.ModeDir | 0o755), ModTime: 1, Xattrs: map[string][]byte{
		"trusted.overlay.opaque": []byte("y"), "user.overlay.origin": nil, "user.note": []byte("kept"),
	}}
	if !keep(st) || len(st.Xattrs) != 1 || string(st.Xattrs["user.note"]) != "kept" || st.ModTime != 9e9 {
		t.Errorf("entry becomes %v", st)
	}
	if keep(&fsutil.Stat{Mode: uint32(fs.ModeDevice | fs.ModeCharDevice)}) {
		t.Error("a whiteout is sent")
	}
	if !keep(&fsutil.Stat{Mode: uint32(fs.ModeDevice | fs.ModeCharDevice), Devmajor: 1, Devminor: 3}) {
		t.Error("a device is not sent")
	}
}

func TestHeader(t *testing.T) {
	at := time.Unix(5, 0)
	for name, tc := range map[string]struct {
		st   *fsutil.Stat
		want *tar.Header
	}{
		"file": {
			&fsutil.Stat{Mode: uint32(fs.ModeSetuid | 0o755), Size: 3, Uid: 1, Gid: 2, Xattrs: map[string][]byte{"user.a": {0, 1}}},
			&tar.Header{Typeflag: tar.TypeReg, Mode: 0o4755, Size: 3, Uid: 1, Gid: 2, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "\x00\x01"}},
		},
		"sticky directory": {
			&fsutil.Stat{Mode: uint32(fs.ModeDir | fs.ModeSticky | fs.ModeSetgid | 0o777)},
			&tar.Header{Typeflag: tar.TypeDir, Mode: 0o3777, Name: "/"},
		},
		"fifo":         {&fsutil.Stat{Mode: uint32(fs.ModeNamedPipe | 0o600)}, &tar.Header{Typeflag: tar.TypeFifo, Mode: 0o600}},
		"block device": {&fsutil.Stat{Mode: uint32(fs.ModeDevice), Devmajor: 8, Devminor: 1}, &tar.Header{Typeflag: tar.TypeBlock, Devmajor: 8, Devminor: 1}},
		"char device": {
			&fsutil.Stat{Mode: uint32(fs.ModeDevice | fs.ModeCharDevice), Devmajor: 1, Devminor: 3},
			&tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		},
		"hard link": {&fsutil.Stat{Mode: 0o644, Linkname: "a", Size: 0}, &tar.Header{Typeflag: tar.TypeLink, Mode: 0o644, Linkname: "a"}},
	} {
		tc.st.ModTime = at.UnixNano() + 7
		tc.want.ModTime = at
		if got := header(tc.st); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, tc.want)
		}
	}
}
