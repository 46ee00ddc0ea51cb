package archive

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/metadata"

	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/export/manifest"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/session"
	"github.com/kilnbuild/kiln/solver/session/files"
)

// What selects the store of a client that takes blobs.
const (
	storeKey = "buildkit-attachable-store-id"
	storeID  = "export"
)

// maxCopies is how many blobs are copied to a client at once.
const maxCopies = 4

// output is an assembled image on its way to the client.
type output struct {
	cfg    *Config
	image  *manifest.Image
	names  []string
	values map[string]string
	target export.Target
}

// client returns the first session that is open.
func (o *output) client(ctx context.Context) (*session.Session, error) {
	var client *session.Session
	err := o.cfg.Sessions.Any(ctx, o.target.Env.Sessions(), func(_ context.Context, s *session.Session) error {
		client = s
		return nil
	})
	return client, err
}

// tar sends the image as one stream.
func (o *output) tar(ctx context.Context) (err error) {
	client, err := o.client(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := files.PushStream(ctx, client, files.Target{ID: o.target.ID, Response: o.values})
	if err != nil {
		return err
	}
	defer progress.Status(o.target.Env, "sending tarball", "").Done()
	opts := []archive.ExportOpt{archive.WithManifest(o.image.Descriptor, o.names...)}
	if o.cfg.Format == OCI {
		opts = append(opts, archive.WithAllPlatforms(), archive.WithSkipDockerManifest())
	}
	if err := archive.Export(ctx, o.source(), w, opts...); err != nil {
		// The client must not take an orderly end for a complete archive. What
		// Close says then is only that the stream was cancelled.
		cancel()
		_ = w.Close()
		return fmt.Errorf("export archive: %w", err)
	}
	return w.Close()
}

// source reads the image's blobs. Where they were pulled from, which
// containerd would write into the archive, is nobody's business.
func (o *output) source() content.InfoReaderProvider { return anonymous{o.cfg.Content} }

// anonymous is a store whose blobs have no labels.
type anonymous struct{ content.InfoReaderProvider }

// Info returns what is known of a blob but its labels.
func (a anonymous) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	info, err := a.InfoReaderProvider.Info(ctx, d)
	info.Labels = nil
	return info, err
}

// blobs copies the image into the client's store, children before parents.
func (o *output) blobs(ctx context.Context) error {
	client, err := o.client(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := client.With(ctx)
	defer cancel()
	store := proxy.NewContentStore(client.Conn())
	remote := metadata.AppendToOutgoingContext(ctx, storeKey, storeID)
	group, gctx := errgroup.WithContext(remote)
	group.SetLimit(maxCopies)
	for _, desc := range o.image.Blobs() {
		group.Go(func() error { return o.copy(gctx, store, desc) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, m := range o.image.Children() {
		if err := o.copy(remote, store, m); err != nil {
			return err
		}
	}
	return o.copy(remote, store, o.image.Descriptor)
}

// copy copies one blob unless the client has it.
func (o *output) copy(ctx context.Context, to content.Store, desc ocispecs.Descriptor) error {
	r, err := o.cfg.Content.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("read blob %s: %w", desc.Digest, err)
	}
	defer r.Close()
	w, err := content.OpenWriter(ctx, to, content.WithRef("kiln-export-"+desc.Digest.String()), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("send blob %s to client: %w", desc.Digest, err)
	}
	defer w.Close()
	err = content.Copy(ctx, w, io.NewSectionReader(r, 0, desc.Size), desc.Size, desc.Digest)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("send blob %s to client: %w", desc.Digest, err)
	}
	return nil
}
