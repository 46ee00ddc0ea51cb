package register

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/services"
	"github.com/containerd/errdefs"
	containerd "github.com/containerd/plugin"

	"github.com/kilnbuild/kiln/differ"
	"github.com/kilnbuild/kiln/plugin"
)

// scheduler is containerd's collector.
type scheduler interface {
	ScheduleAndWait(ctx context.Context) (gc.Stats, error)
}

// defaultSnapshotterLabel is where containerd's clients look for the snapshotter to use in a namespace.
const defaultSnapshotterLabel = "containerd.io/defaults/snapshotter"

// instance returns a plugin as what it must be.
func instance[T any](ic *containerd.InitContext, kind containerd.Type, id string) (out T, err error) {
	v, err := ic.GetByID(kind, id)
	if err != nil {
		return out, fmt.Errorf("plugin %s.%s: %w", kind, id, err)
	}
	out, ok := v.(T)
	if !ok {
		return out, fmt.Errorf("plugin %s.%s is a %T", kind, id, v)
	}
	return out, nil
}

// newHost takes the services out of the containerd that is starting.
func newHost(ic *containerd.InitContext, namespace, snapshotterName string) (plugin.Host, error) {
	h := plugin.Host{
		Namespace: namespace, SnapshotterName: snapshotterName,
		Root: ic.Properties[plugins.PropertyRootDir], State: ic.Properties[plugins.PropertyStateDir],
		Sync: func(context.Context) error { return nil },
	}
	var err error
	var failed []error
	take := func(err error) { failed = append(failed, err) }
	h.Content, err = instance[content.Store](ic, plugins.ServicePlugin, services.ContentService)
	take(err)
	h.Leases, err = instance[leases.Manager](ic, plugins.LeasePlugin, "manager")
	take(err)
	images, err := instance[imagesapi.ImagesClient](ic, plugins.ServicePlugin, services.ImagesService)
	take(err)
	spaces, err := instance[namespacesapi.NamespacesClient](ic, plugins.ServicePlugin, services.NamespacesService)
	take(err)
	all, err := instance[map[string]snapshots.Snapshotter](ic, plugins.ServicePlugin, services.SnapshotsService)
	take(err)
	collector, err := instance[scheduler](ic, plugins.GCPlugin, "scheduler")
	take(err)
	own, err := instance[*differ.Differ](ic, plugins.DiffPlugin, Name)
	take(err)
	if err := errors.Join(failed...); err != nil {
		return h, err
	}
	h.Images, h.Namespaces = client.NewImageStoreFromClient(images), client.NewNamespaceStoreFromClient(spaces)
	h.Comparer, h.Applier = own, own
	if h.Snapshotter = all[snapshotterName]; h.Snapshotter == nil {
		return h, fmt.Errorf("containerd has no working snapshotter %s: %w", snapshotterName, errdefs.ErrNotFound)
	}
	if h.Backend, err = instance[snapshots.Snapshotter](ic, plugins.SnapshotPlugin, snapshotterName); err != nil {
		return h, err
	}
	h.GarbageCollect = func(ctx context.Context) error {
		_, err := collector.ScheduleAndWait(ctx)
		return err
	}
	identity := filepath.Join(filepath.Dir(h.Root), string(plugins.GRPCPlugin)+".introspection", "uuid")
	h.UUID = func(context.Context) (string, error) { return uuid(identity) }
	return h, nil
}

// ensureNamespace makes the namespace if it is missing. Only a new one gets a default snapshotter: others have users.
func ensureNamespace(ctx context.Context, store namespaces.Store, name, snapshotterName string) error {
	err := store.Create(ctx, name, map[string]string{defaultSnapshotterLabel: snapshotterName})
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("make namespace %s: %w", name, err)
	}
	return nil
}

// uuid reads the containerd's identity where its introspection service will look for it. That service cannot be asked
// while plugins start: until its own turn comes it looks elsewhere, and would make up another one. On the very first start
// the identity is made here, and found there.
func uuid(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		return string(b), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read containerd identity: %w", err)
	}
	id := newUUID()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	if err := os.WriteFile(path, []byte(id), 0o600); err != nil {
		return "", fmt.Errorf("write containerd identity: %w", err)
	}
	return id, nil
}

// newUUID makes a random one, of version 4.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
