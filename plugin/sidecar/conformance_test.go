package sidecar_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	contenttest "github.com/containerd/containerd/v2/core/content/testsuite"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshottest "github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/kilnbuild/kiln/plugin"
)

// nothing has to be done at the end of a test of a suite.
func nothing() error { return nil }

// TestContentConformance runs containerd's own suite on the content store of a
// sidecar, and on that of the containerd beside it. Each test has its own, for
// a blob that another one left would be shared between namespaces.
func TestContentConformance(t *testing.T) {
	hosts := map[string]func() plugin.Host{
		"sidecar":  func() plugin.Host { return open(t, serve(t)) },
		"embedded": func() plugin.Host { return serve(t).host.Host() },
	}
	for name, begin := range hosts {
		t.Run(name, func(t *testing.T) {
			store := func(ctx context.Context, _ string) (context.Context, content.Store, func() error, error) {
				host := begin()
				// With a lease, for the collector runs.
				var count atomic.Int32
				apart := func(ctx context.Context, _ bool) (context.Context, func(context.Context) error, error) {
					ctx = namespaces.WithNamespace(ctx, fmt.Sprintf("suite-%d", count.Add(1)))
					l, err := host.Leases.Create(ctx, leases.WithRandomID())
					return leases.WithLease(ctx, l.ID), func(context.Context) error { return nil }, err
				}
				return contenttest.SetContextWrapper(ctx, apart), host.Content, nothing, nil
			}
			contenttest.ContentSuite(t, name, store)
			contenttest.ContentCrossNSSharedSuite(t, name, store)
		})
	}
}

// TestSnapshotConformance runs containerd's own suite on the snapshotter of a
// sidecar, each test with a containerd of its own.
func TestSnapshotConformance(t *testing.T) {
	// The suite expects of a snapshotter with this name what overlay does.
	snapshottest.SnapshotterSuite(t, "overlayfs", func(context.Context, string) (snapshots.Snapshotter, func() error, error) {
		return open(t, serve(t)).Snapshotter, nothing, nil
	})
}
