package manifest

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
)

// leaseExpiry bounds how long an export that was killed keeps its blobs.
const leaseExpiry = 24 * time.Hour

// Hold returns ctx in a namespace, with a lease of its own that keeps what is
// written under it until release. release is safe to call more than once and
// works after ctx has ended.
func Hold(ctx context.Context, manager leases.Manager, namespace string) (_ context.Context, release func(), err error) {
	ctx = namespaces.WithNamespace(ctx, namespace)
	l, err := manager.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseExpiry))
	if err != nil {
		return nil, nil, fmt.Errorf("hold exported blobs: %w", err)
	}
	cleanup := context.WithoutCancel(ctx)
	return leases.WithLease(ctx, l.ID), func() {
		// The lease expires by itself if it cannot be deleted now.
		if err := manager.Delete(cleanup, l); err != nil && !errdefs.IsNotFound(err) {
			log.G(cleanup).WithError(err).Warn("delete lease of an export")
		}
	}, nil
}
