package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/containerd/v2/pkg/reference"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// maxPushes is how often a push is begun when it breaks.
const maxPushes = 3

// Repository is one image name at a registry.
type Repository struct {
	client *Client
	spec   reference.Spec
	hosts  []*host
	opt    Options
	auth   *authorizer
}

// Name returns the reference the repository was opened with.
func (r *Repository) Name() string { return r.spec.String() }

// Host returns the registry's name as it stands in references.
func (r *Repository) Host() string { return r.spec.Hostname() }

// HasMirrors reports whether other hosts are asked before the registry.
func (r *Repository) HasMirrors() bool { return len(r.hosts) > 1 }

// Origin returns the repository at the registry itself, without mirrors: for
// when a mirror gave something else than was asked for.
func (r *Repository) Origin() *Repository {
	return r.at(r.hosts[len(r.hosts)-1])
}

// at returns the repository at one of its hosts only.
func (r *Repository) at(h *host) *Repository {
	o := *r
	o.hosts = []*host{h}
	o.auth = newAuthorizer(r.client, &o)
	return &o
}

// Resolve returns what the reference's tag names now; a digest is only looked
// up. Errors are errdefs NotFound, PermissionDenied, or of the network.
func (r *Repository) Resolve(ctx context.Context) (ocispecs.Descriptor, error) {
	ctx = quiet(withPatience(ctx))
	release, err := r.client.limits.acquire(ctx, r.Host(), "manifest+json")
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	defer release()
	_, desc, err := r.resolver(nil).Resolve(ctx, r.spec.String())
	if err != nil {
		return ocispecs.Descriptor{}, r.explain(ctx, err, pullDenied)
	}
	return desc, nil
}

// Fetch returns the bytes of a manifest or blob, not verified. The first Read
// sends the request; a broken connection is resumed. The reader is an
// io.Seeker and holds one of the host's slots until it is closed, which the
// caller must do. URLs in the descriptor are ignored: a manifest must not send
// the daemon wherever it likes.
func (r *Repository) Fetch(ctx context.Context, desc ocispecs.Descriptor) (io.ReadCloser, error) {
	ctx = quiet(withPatience(ctx))
	desc.URLs = nil
	release, err := r.client.limits.acquire(ctx, r.Host(), desc.MediaType)
	if err != nil {
		return nil, err
	}
	f, err := r.resolver(nil).Fetcher(ctx, r.spec.String())
	var rc io.ReadCloser
	if err == nil {
		rc, err = f.Fetch(ctx, desc)
	}
	if err != nil {
		release()
		return nil, r.explain(ctx, err, pullDenied)
	}
	return &blobReader{rc: rc, repo: r, ctx: ctx, release: release}, nil
}

// maxReferrers bounds what is told of one document.
const maxReferrers = 1000

// Referrers returns the documents that name d as their subject, without their
// bytes: signatures, for instance. A registry that keeps no such list has none.
func (r *Repository) Referrers(ctx context.Context, d digest.Digest) ([]ocispecs.Descriptor, error) {
	ctx = quiet(withPatience(ctx))
	release, err := r.client.limits.acquire(ctx, r.Host(), "manifest+json")
	if err != nil {
		return nil, err
	}
	defer release()
	f, err := r.resolver(nil).Fetcher(ctx, r.spec.String())
	if err != nil {
		return nil, r.explain(ctx, err, pullDenied)
	}
	lister, ok := f.(remotes.ReferrersFetcher)
	if !ok {
		return nil, nil
	}
	all, err := lister.FetchReferrers(ctx, d)
	if err != nil {
		return nil, r.explain(ctx, err, pullDenied)
	}
	if len(all) > maxReferrers {
		return nil, fmt.Errorf("%d documents refer to %s, at most %d are read: %w", len(all), d, maxReferrers, errdefs.ErrResourceExhausted)
	}
	return all, nil
}

// blobReader gives its slot back and explains errors.
type blobReader struct {
	rc      io.ReadCloser
	repo    *Repository
	ctx     context.Context // of Fetch, as the requests are
	release func()
}

// Read reads; errors say who was asked.
func (b *blobReader) Read(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.repo.explain(b.ctx, err, pullDenied)
	}
	return n, err
}

// Seek moves to another offset, from which the next Read asks.
func (b *blobReader) Seek(offset int64, whence int) (int64, error) {
	s, ok := b.rc.(io.Seeker)
	if !ok {
		return 0, fmt.Errorf("seek in blob: %w", errdefs.ErrNotImplemented)
	}
	return s.Seek(offset, whence)
}

// Close closes the connection and gives the slot back.
func (b *blobReader) Close() error {
	defer b.release()
	return b.rc.Close()
}

// Push uploads a blob or manifest under its digest, unless it is there. A
// blob that the annotations "containerd.io/distribution.source.<host>" place
// in another repository of the host is mounted from it. What the manifest
// names must have been pushed before. progress, optional, is told how many
// more bytes were read.
func (r *Repository) Push(ctx context.Context, desc ocispecs.Descriptor, from content.Provider, progress func(n int64)) error {
	_, err := r.Upload(ctx, desc, from, progress)
	return err
}

// Uploaded says how a blob came to a registry.
type Uploaded struct {
	// There says that it was there already.
	There bool
	// From is the repository it was mounted from; empty if it was sent.
	From string
}

// Upload is Push, and tells how the blob came there.
func (r *Repository) Upload(ctx context.Context, desc ocispecs.Descriptor, from content.Provider, progress func(n int64)) (Uploaded, error) {
	spec := r.spec
	spec.Object = "@" + desc.Digest.String()
	return r.push(ctx, spec, desc, from, progress)
}

// PushTag uploads a manifest under the reference's tag.
func (r *Repository) PushTag(ctx context.Context, desc ocispecs.Descriptor, from content.Provider) error {
	tag, _, _ := strings.Cut(r.spec.Object, "@")
	if tag == "" {
		return fmt.Errorf("reference %s has no tag to push to: %w", r.Name(), errdefs.ErrInvalidArgument)
	}
	spec := r.spec
	spec.Object = tag + "@" + desc.Digest.String()
	_, err := r.push(ctx, spec, desc, from, nil)
	return err
}

func (r *Repository) push(ctx context.Context, spec reference.Spec, desc ocispecs.Descriptor, from content.Provider, progress func(int64)) (Uploaded, error) {
	ctx = quiet(withPatience(ctx))
	release, err := r.client.limits.acquire(ctx, r.Host(), desc.MediaType)
	if err != nil {
		return Uploaded{}, err
	}
	defer release()
	pause := firstPause
	for try := 1; ; try++ {
		tracker, at := docker.NewInMemoryTracker(), &location{}
		err = r.pushOnce(context.WithValue(ctx, locationKey{}, at), tracker, spec, desc, from, progress)
		if err != nil && at.url != nil && ctx.Err() == nil && resumable(desc, err) {
			if err = r.resume(ctx, at.url, desc, from, progress); err == nil {
				return Uploaded{}, nil
			}
		}
		if err == nil {
			// What is not tracked was sent.
			st, _ := tracker.GetStatus(remotes.MakeRefKey(ctx, desc))
			return Uploaded{There: st.Exists, From: st.MountedFrom}, nil
		}
		if try == maxPushes || ctx.Err() != nil || !passing(err) || !spend(ctx, pause) || r.client.sleep(ctx, pause) != nil {
			return Uploaded{}, fmt.Errorf("push %s to %s: %w", desc.Digest, r.spec.Locator, r.explain(ctx, err, pushDenied))
		}
		pause *= 2
	}
}

// passing reports failures of a push that may not come again: of connections,
// and answers of a registry, or of what stands in front of it, that has a
// fault just now.
func passing(err error) bool {
	var status remoteerrors.ErrUnexpectedStatus
	return transient(err) || errors.As(err, &status) && status.StatusCode >= http.StatusInternalServerError && status.StatusCode != http.StatusNotImplemented
}

func (r *Repository) pushOnce(
	ctx context.Context, tracker docker.StatusTracker, spec reference.Spec, desc ocispecs.Descriptor, from content.Provider, progress func(int64),
) error {
	// Uploads in the background end with this call.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pusher, err := r.resolver(tracker).Pusher(ctx, spec.String())
	if err != nil {
		return err
	}
	w, err := pusher.Push(ctx, desc)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	ra, err := from.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("read blob: %w", err)
	}
	defer ra.Close()
	src := &countedReader{SectionReader: io.NewSectionReader(ra, 0, desc.Size), count: progress}
	if err := content.Copy(ctx, w, src, desc.Size, desc.Digest); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// countedReader tells how much of a section was read.
type countedReader struct {
	*io.SectionReader
	count func(int64)
}

// Read reads and tells.
func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.SectionReader.Read(p)
	if c.count != nil && n > 0 {
		c.count(int64(n))
	}
	return n, err
}

// resolver returns containerd's client of the hosts; tracker, optional, is told
// of pushes.
func (r *Repository) resolver(tracker docker.StatusTracker) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Tracker: tracker,
		Hosts:   func(string) ([]docker.RegistryHost, error) { return r.registryHosts(), nil },
		Headers: http.Header{"User-Agent": []string{r.client.cfg.UserAgent}},
	})
}

// silent takes the messages of containerd's client, which at its lower levels
// include headers with signed URLs. Errors say what matters.
var silent = func() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.PanicLevel)
	return logrus.NewEntry(l)
}()

// quiet returns ctx with a logger that says nothing.
func quiet(ctx context.Context) context.Context { return log.WithLogger(ctx, silent) }

// Unreachable reports whether err means that nobody answered, rather than that
// somebody said no.
func Unreachable(err error) bool {
	return err != nil && !errdefs.IsNotFound(err) && !errdefs.IsPermissionDenied(err) && !errors.Is(err, context.Canceled)
}
