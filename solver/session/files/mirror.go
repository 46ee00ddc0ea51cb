package files

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/kilnbuild/kiln/solver/pb/fsutil"
)

// Listing is the entries of a tree in path order.
type Listing []*fsutil.Stat

// Mirror is a Handler that makes a directory equal to what is sent. It asks
// only for files that differ from Previous, and opens the directory only when
// something differs at all.
type Mirror struct {
	// Previous lists what the directory holds; empty for an empty one.
	Previous Listing
	// Open returns the writer of the directory; called once, at the first
	// difference.
	Open func() (*Writer, error)
	// KeepExtra leaves entries alone that are not sent (merging).
	KeepExtra bool
	// Trust says that equal size and time mean equal content. Otherwise every
	// file is asked for.
	Trust bool
	// Progress, if not nil, is told of bytes received, entries and contents,
	// from several goroutines.
	Progress func(n int)

	writer *Writer
	next   Listing // what follows in Previous
	all    Listing
	links  []*fsutil.Stat
	dirs   []*fsutil.Stat
	// known has the directories sent so far; dirty those whose times change
	// by what is written.
	known map[string]*fsutil.Stat
	dirty map[string]bool
	gone  string // last removed directory

	files   [Workers]map[string]*os.File
	started sync.Once
	changes atomic.Int64
}

func (m *Mirror) start() {
	m.next = m.Previous
	m.dirty = map[string]bool{}
	m.known = map[string]*fsutil.Stat{}
	for i := range m.files {
		m.files[i] = map[string]*os.File{}
	}
}

// Entry compares an entry with what is there.
func (m *Mirror) Entry(st *fsutil.Stat) (bool, error) {
	m.started.Do(m.start)
	if m.Progress != nil {
		m.Progress(proto.Size(st))
	}
	m.all = append(m.all, st)
	old, err := m.advance(st.GetPath())
	if err != nil {
		return false, err
	}
	mode := fs.FileMode(st.GetMode())
	if mode.IsDir() {
		m.known[st.GetPath()] = st
	}
	if old != nil && m.same(old, st) {
		return false, nil
	}
	return m.change(old, st, mode)
}

// change makes room for an entry that differs, and makes it unless its
// content has to come first.
func (m *Mirror) change(old, st *fsutil.Stat, mode fs.FileMode) (bool, error) {
	if err := m.touch(st.GetPath()); err != nil {
		return false, err
	}
	bothDirs := old != nil && mode.IsDir() && fs.FileMode(old.GetMode()).IsDir()
	if !bothDirs && (old != nil || m.KeepExtra && !mode.IsDir()) {
		if err := m.writer.Remove(st.GetPath()); err != nil {
			return false, err
		}
		// What was in a directory is gone with it.
		m.gone = st.GetPath()
	}
	switch {
	case mode.IsDir():
		m.mark(st)
		return false, m.writer.Make(st)
	case mode.IsRegular() && st.GetLinkname() != "":
		m.links = append(m.links, st)
		return false, nil
	case mode.IsRegular():
		return true, nil
	default:
		return false, m.writer.Make(st)
	}
}

// advance removes what is gone before name and returns the old entry at it.
func (m *Mirror) advance(name string) (*fsutil.Stat, error) {
	for len(m.next) > 0 {
		old := m.next[0]
		c := ComparePath(old.GetPath(), name)
		if c > 0 {
			return nil, nil
		}
		m.next = m.next[1:]
		if c == 0 {
			return old, nil
		}
		if err := m.remove(old); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (m *Mirror) remove(old *fsutil.Stat) error {
	if m.KeepExtra || m.gone != "" && strings.HasPrefix(old.GetPath(), m.gone+"/") {
		return nil
	}
	if err := m.touch(old.GetPath()); err != nil {
		return err
	}
	m.gone = old.GetPath()
	return m.writer.Remove(old.GetPath())
}

// touch opens the directory at the first change, and marks the directory that
// name lies in: writing changes its times.
func (m *Mirror) touch(name string) error {
	m.changes.Add(1)
	if d := m.known[path.Dir(name)]; d != nil {
		m.mark(d)
	}
	if m.writer != nil {
		return nil
	}
	var err error
	m.writer, err = m.Open()
	return err
}

// mark notes a directory whose attributes Finish has to set.
func (m *Mirror) mark(d *fsutil.Stat) {
	if !m.dirty[d.GetPath()] {
		m.dirty[d.GetPath()] = true
		m.dirs = append(m.dirs, d)
	}
}

// same reports whether nothing has to be done for an entry.
func (m *Mirror) same(old, st *fsutil.Stat) bool {
	mode := fs.FileMode(st.GetMode())
	if old.GetMode() != st.GetMode() || old.GetUid() != st.GetUid() || old.GetGid() != st.GetGid() ||
		old.GetLinkname() != st.GetLinkname() ||
		old.GetDevmajor() != st.GetDevmajor() || old.GetDevminor() != st.GetDevminor() ||
		!maps.EqualFunc(old.GetXattrs(), st.GetXattrs(), func(a, b []byte) bool { return string(a) == string(b) }) {
		return false
	}
	if mode.IsDir() {
		return true
	}
	if old.GetSize() != st.GetSize() || old.GetModTime() != st.GetModTime() {
		return false
	}
	return m.Trust || !mode.IsRegular()
}

// Data writes a piece of a file.
func (m *Mirror) Data(worker int, st *fsutil.Stat, data []byte) error {
	open := m.files[worker]
	f := open[st.GetPath()]
	if f == nil {
		var err error
		if f, err = m.writer.Create(st.GetPath()); err != nil {
			return err
		}
		open[st.GetPath()] = f
	}
	if len(data) == 0 {
		delete(open, st.GetPath())
		return m.writer.Complete(f, st)
	}
	if m.Progress != nil {
		m.Progress(len(data))
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write received file: %w", err)
	}
	return nil
}

// Finish completes the directory after Receive has returned without error:
// removes what was not sent, makes hard links, sets times. It returns the new
// listing and whether anything changed. The writer stays open for the caller.
func (m *Mirror) Finish() (Listing, bool, error) {
	m.started.Do(m.start)
	for _, old := range m.next {
		if err := m.remove(old); err != nil {
			return nil, false, err
		}
	}
	for _, st := range m.links {
		if err := m.writer.Link(st); err != nil {
			return nil, false, err
		}
	}
	if m.writer != nil {
		if err := m.writer.Finish(sortDirs(m.dirs)); err != nil {
			return nil, false, err
		}
	}
	return m.all, m.changes.Load() > 0, nil
}

// Close closes files that an aborted transfer has left open.
func (m *Mirror) Close() {
	for _, open := range m.files {
		for _, f := range open {
			f.Close()
		}
	}
}
