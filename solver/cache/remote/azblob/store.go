package azblob

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/cache/remote/bucket"
)

// Blobs are written in blocks of blockSize, blocks of them at a time.
const (
	blockSize = 8 << 20
	blocks    = 4
)

// store is one container.
type store struct {
	container *container.Client
	// ensure makes the container, once; nil for one that is only read.
	ensure func(ctx context.Context) error
}

var _ bucket.Store = (*store)(nil)

// open returns the container of a configuration. It makes no request.
func open(c *config, create bool) (*store, error) {
	client, err := newClient(c)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", c.url, err)
	}
	s := &store{container: client.ServiceClient().NewContainerClient(c.container)}
	if create {
		var mu sync.Mutex
		made := false
		s.ensure = func(ctx context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			if made {
				return nil
			}
			if err := s.make(ctx); err != nil {
				return fmt.Errorf("create container %s: %w", c.container, err)
			}
			made = true
			return nil
		}
	}
	return s, nil
}

func newClient(c *config) (*azblob.Client, error) {
	if c.secret != "" {
		key, err := azblob.NewSharedKeyCredential(c.account, c.secret)
		if err != nil {
			return nil, err
		}
		return azblob.NewClientWithSharedKeyCredential(c.url, key, nil)
	}
	found, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return azblob.NewClient(c.url, found, nil)
}

// make makes the container unless it is there.
func (s *store) make(ctx context.Context) error {
	_, err := s.container.GetProperties(ctx, nil)
	if !bloberror.HasCode(err, bloberror.ContainerNotFound) {
		return err
	}
	_, err = s.container.Create(ctx, nil)
	if bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return nil
	}
	return err
}

// explain gives errors of the service the kinds of errdefs.
func explain(err error) error {
	if bloberror.HasCode(err, bloberror.BlobNotFound, bloberror.ContainerNotFound) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	return err
}

// Stat implements bucket.Store.
func (s *store) Stat(ctx context.Context, key string) (time.Time, error) {
	p, err := s.container.NewBlobClient(key).GetProperties(ctx, nil)
	if err != nil || p.LastModified == nil {
		return time.Time{}, explain(err)
	}
	return *p.LastModified, nil
}

// Touch does nothing.
func (s *store) Touch(context.Context, string) error { return nil }

// Put implements bucket.Store.
func (s *store) Put(ctx context.Context, key string, data *io.SectionReader) error {
	if s.ensure != nil {
		if err := s.ensure(ctx); err != nil {
			return err
		}
	}
	_, err := s.container.NewBlockBlobClient(key).UploadStream(ctx, data, &blockblob.UploadStreamOptions{BlockSize: blockSize, Concurrency: blocks})
	return explain(err)
}

// Get implements bucket.Store. A connection that breaks is resumed.
func (s *store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	out, err := s.container.NewBlobClient(key).DownloadStream(ctx, nil)
	if err != nil {
		return nil, explain(err)
	}
	return out.NewRetryReader(ctx, nil), nil
}
