package plugin

import (
	"context"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// Host is what a builder needs of the containerd around it. Every member is set unless its comment says otherwise.
//
// The stores are the namespaced ones: what a call with a lease in its context touches is added to that lease, and what
// no lease, image or label holds is collected.
type Host struct {
	// Content keeps blobs.
	Content content.Store
	// Images maps names to descriptors.
	Images images.Store
	// Private says that nobody but the builder stores anything here: images that it made go when a client prunes
	// everything.
	Private bool
	// Leases keeps things alive; deleting one with leases.SynchronousDelete collects before it returns.
	Leases leases.Manager
	// Namespaces lists and labels namespaces.
	Namespaces namespaces.Store

	// Snapshotter keeps file systems, under the name by which labels and leases refer to it.
	Snapshotter     snapshots.Snapshotter
	SnapshotterName string
	// Backend is the snapshotter below the metadata layer, for the abilities that it has beyond containerd's interface.
	// Its keys are the backend's. nil where it lives in another process.
	Backend snapshots.Snapshotter

	// Comparer and Applier turn snapshots into layer blobs and back.
	Comparer diff.Comparer
	Applier  diff.Applier

	// Events publishes to containerd's exchange. May be nil.
	Events events.Publisher

	// Namespace is where the builder keeps its state.
	Namespace string
	// Root is a directory for what must survive a restart, State one for sockets and what may vanish with a boot.
	// Both exist, are absolute and belong to the builder alone.
	Root, State string

	// UUID identifies the containerd; clients compare it to learn whether two addresses are the same store.
	UUID func(context.Context) (string, error)

	// GarbageCollect removes what nothing holds and returns when it is gone.
	GarbageCollect func(context.Context) error
	// Sync returns when everything that was stored before the call survives a power loss. Call it before telling
	// anybody outside that a result, a push or an image is there to stay; it costs next to nothing when that is so.
	Sync func(context.Context) error
}
