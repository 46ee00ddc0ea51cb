package snapshotter

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

const labelVolatile = "containerd.io/snapshot/kiln.volatile"

// WithVolatile makes Prepare or View create a snapshot that lives only as long
// as this process: its record is in memory, which saves the flushes of the
// database, and its overlay is mounted with the option of the same name, where
// the kernel has it, so that fsync inside does nothing and unmounting writes
// nothing back. Commit makes it as durable as any other, once. If the process
// ends before, the snapshot is gone, and Cleanup deletes its layer. Right for
// the steps of a build; wrong for containers that outlive the daemon.
//
// Before mounting a second time, call Mounts again: the kernel leaves a mark
// that makes it refuse, and Mounts takes that mark away.
func WithVolatile() snapshots.Opt {
	return snapshots.WithLabels(map[string]string{labelVolatile: "true"})
}

// volatileMounts reports whether overlay knows the option (Linux 5.10).
func volatileMounts() bool { return kernelAtLeast(5, 10) }

// remountable takes away the mark that the kernel left in the work directory
// of a volatile overlay. The mark says that a crash may have come in between.
// None has: the record is still in this process's memory.
func (l *layout) remountable(id uint64) error {
	if err := os.RemoveAll(filepath.Join(l.workTop(id), "work", "incompat")); err != nil {
		return fmt.Errorf("prepare volatile snapshot for another mount: %w", err)
	}
	return nil
}

// volatiles are the records in memory. They are written only by holders of the
// database's write transaction, so that what a transaction checks stays true;
// the mutex is for the readers. Entries are replaced, never modified.
type volatiles struct {
	mu     sync.RWMutex
	byName map[string]placed
	byID   map[uint64]string
}

func newVolatiles() *volatiles {
	return &volatiles{byName: map[string]placed{}, byID: map[uint64]string{}}
}

func (v *volatiles) get(key string) (placed, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	p, ok := v.byName[key]
	return p, ok
}

// stack returns the lower layers of a volatile snapshot by number.
func (v *volatiles) stack(id uint64) ([]uint64, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	key, ok := v.byID[id]
	return slices.Clone(v.byName[key].stack), ok
}

// refers reports whether a volatile snapshot keeps the layer alive.
func (v *volatiles) refers(id uint64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, p := range v.byName {
		if slices.Contains(p.record.Refs, id) {
			return true
		}
	}
	return false
}

func (v *volatiles) put(key string, p placed) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byName[key], v.byID[p.record.ID] = p, key
}

func (v *volatiles) remove(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.byID, v.byName[key].record.ID)
	delete(v.byName, key)
}

// setSealing marks a snapshot while the transaction that commits it is being
// written: it can not be removed or committed by another call until it is
// known how that ended.
func (v *volatiles) setSealing(key string, sealing bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.byName[key]
	p.record.sealing = sealing
	v.byName[key] = p
}

// checkSettled is for those who are about to change r.
func checkSettled(key string, r *record) error {
	if r.sealing {
		return fmt.Errorf("snapshot %q is being committed: %w", key, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// infos lists the volatile snapshots in the order of their names.
func (v *volatiles) infos() []snapshots.Info {
	v.mu.RLock()
	defer v.mu.RUnlock()
	infos := make([]snapshots.Info, 0, len(v.byName))
	for key, p := range v.byName {
		infos = append(infos, p.record.info(key))
	}
	slices.SortFunc(infos, func(a, b snapshots.Info) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return infos
}

// newest is storeTx.newest among the volatile snapshots.
func (v *volatiles) newest(namespace, name string) (key string, age uint64) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for k := range v.byName {
		ns, seq, n, ok := splitBackendName(k)
		if ok && ns == namespace && n == name && (key == "" || seq > age) {
			key, age = k, seq
		}
	}
	return key, age
}
