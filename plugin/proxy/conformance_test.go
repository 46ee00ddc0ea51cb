package proxy_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotsproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kilnbuild/kiln/plugin/proxy"
	"github.com/kilnbuild/kiln/snapshotter"
)

// TestConformance runs containerd's own suite on what a containerd sees that
// has kiln's snapshotter as a proxy plugin: its metadata over the socket.
func TestConformance(t *testing.T) {
	// The suite expects of a snapshotter with this name what overlay does.
	testsuite.SnapshotterSuite(t, "overlayfs", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		backend, err := snapshotter.New(ctx, filepath.Join(root, "layers"), snapshotter.Config{NoSyncOnCommit: true, NoMetadataSync: true})
		if err != nil {
			return nil, nil, err
		}
		// Names of sockets are short, and the suite's directories are not.
		socket := filepath.Join(shortDir(t), "p.sock")
		server, err := proxy.Serve(ctx, socket, proxy.Offer{Snapshotter: backend})
		if err != nil {
			return nil, nil, errors.Join(err, backend.Close())
		}
		conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, nil, errors.Join(err, backend.Close())
		}
		file, err := bolt.Open(filepath.Join(root, "meta.db"), 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close(), backend.Close())
		}
		remote := snapshotsproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), proxy.SnapshotterName)
		db := metadata.NewDB(file, nil, map[string]snapshots.Snapshotter{proxy.SnapshotterName: remote})
		end := func() error {
			errs := []error{file.Close(), conn.Close()}
			server.Close(context.WithoutCancel(ctx))
			return errors.Join(append(errs, backend.Close())...)
		}
		return db.Snapshotter(proxy.SnapshotterName), end, nil
	})
}
