package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// annotationName has the whole name of an image; the standard annotation has
// the tag alone.
const annotationName = "io.containerd.image.name"

// maxIndex bounds an index, in bytes.
const maxIndex = 4 << 20

// Find returns the entry of an image by its name or tag. The error is
// fs.ErrNotExist if there is none.
func Find(dir, name string) (ocispecs.Descriptor, error) {
	idx, err := read(dir)
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	for _, key := range []string{annotationName, ocispecs.AnnotationRefName} {
		for _, m := range idx.Manifests {
			if m.Annotations[key] == name {
				return m, nil
			}
		}
	}
	return ocispecs.Descriptor{}, fmt.Errorf("image %s in %s: %w", name, dir, fs.ErrNotExist)
}

// Tag gives an image a tag, taking it from the image that had it.
func Tag(dir string, desc ocispecs.Descriptor, tag string) error {
	return put(dir, desc, map[string]string{ocispecs.AnnotationRefName: tag})
}

// Name gives an image a name, taking it from the image that had it.
func Name(dir string, desc ocispecs.Descriptor, name string) error {
	return put(dir, desc, map[string]string{annotationName: name, ocispecs.AnnotationRefName: tagOf(name)})
}

// tagOf returns the tag of a name, with the digest if it has one; the name
// itself if it has neither.
func tagOf(name string) string {
	last := name[strings.LastIndexByte(name, '/')+1:]
	if i := strings.IndexAny(last, ":@"); i >= 0 && i+1 < len(last) {
		if last[i] == '@' {
			return last[i:]
		}
		return last[i+1:]
	}
	return name
}

// put adds an entry in place of the one with the same names. A broken index
// is left for its owner to repair.
func put(dir string, desc ocispecs.Descriptor, annotations map[string]string) error {
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	idx, err := read(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	idx.SchemaVersion = 2
	if idx.MediaType == "" {
		idx.MediaType = ocispecs.MediaTypeImageIndex
	}
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(m ocispecs.Descriptor) bool {
		return m.Annotations[annotationName] == annotations[annotationName] &&
			m.Annotations[ocispecs.AnnotationRefName] == annotations[ocispecs.AnnotationRefName]
	})
	all := maps.Clone(desc.Annotations)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, annotations)
	desc.Annotations = all
	idx.Manifests = append(idx.Manifests, desc)
	if err := write(dir, ocispecs.ImageLayoutFile, ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion}); err != nil {
		return err
	}
	return write(dir, ocispecs.ImageIndexFile, idx)
}

// read returns the index. The error is fs.ErrNotExist if there is none.
func read(dir string) (ocispecs.Index, error) {
	var idx ocispecs.Index
	path := filepath.Join(dir, ocispecs.ImageIndexFile)
	fi, err := os.Stat(path)
	if err != nil {
		return idx, err
	}
	if fi.Size() > maxIndex {
		return idx, fmt.Errorf("%s is larger than %d bytes", path, maxIndex)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return idx, err
	}
	if err := json.Unmarshal(data, &idx); err != nil {
		return idx, fmt.Errorf("read %s: %w", path, err)
	}
	return idx, nil
}

// write replaces a file of the layout.
func write(dir, name string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, name), data)
}

// WriteFile writes a file so that nobody ever reads half of it. Its mode is
// 0666 without the umask.
func WriteFile(path string, data []byte) error {
	// A name of our own: two writers must not share it. CreateTemp would
	// ignore the umask.
	tmp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	err := os.WriteFile(tmp, data, 0o666)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// lock waits for the directory.
func lock(dir string) (func(), error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
