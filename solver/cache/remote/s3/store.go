package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/cache/remote/bucket"
)

const (
	// maxCopy is what the service copies in one request.
	maxCopy = 5 << 30
	// copyPart is how much of a larger object is copied at a time.
	copyPart = 1 << 30
)

// store is one bucket.
type store struct {
	client  *s3.Client
	uploads *transfermanager.Client
	bucket  string
}

var _ bucket.Store = (*store)(nil)

// open returns the bucket of a configuration. It makes no request to it, but
// may ask the environment for credentials.
func open(ctx context.Context, c *config) (*store, error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.region),
		awsconfig.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired))
	if err != nil {
		return nil, fmt.Errorf("load configuration of AWS: %w", err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		if c.keyID != "" && c.secret != "" {
			o.Credentials = credentials.NewStaticCredentialsProvider(c.keyID, c.secret, c.token)
		}
		if c.endpoint != "" {
			o.UsePathStyle, o.BaseEndpoint = c.pathStyle, aws.String(c.endpoint)
		}
		if c.retryMode != "" {
			o.RetryMode = c.retryMode
		}
		if c.retryAttempts > 0 {
			o.RetryMaxAttempts = c.retryAttempts
		}
		if c.disableAcceptEncoding {
			// Some proxies change the header after it was signed: then it must
			// not be among what is signed.
			o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
				_, err := stack.Finalize.Remove("DisableAcceptEncodingGzip")
				return err
			})
		}
	})
	uploads := transfermanager.New(client, func(o *transfermanager.Options) {
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	})
	return &store{client: client, uploads: uploads, bucket: c.bucket}, nil
}

// explain gives errors of the service the kinds of errdefs.
func explain(err error) error {
	var noKey *types.NoSuchKey
	var notFound *types.NotFound
	var api smithy.APIError
	if errors.As(err, &noKey) || errors.As(err, &notFound) ||
		errors.As(err, &api) && (api.ErrorCode() == "NoSuchKey" || api.ErrorCode() == "NotFound") {
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	}
	return err
}

func (s *store) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return nil, explain(err)
	}
	return out, nil
}

// Stat implements bucket.Store.
func (s *store) Stat(ctx context.Context, key string) (time.Time, error) {
	out, err := s.head(ctx, key)
	if err != nil || out.LastModified == nil {
		return time.Time{}, err
	}
	return *out.LastModified, nil
}

// Put implements bucket.Store.
func (s *store) Put(ctx context.Context, key string, data *io.SectionReader) error {
	_, err := s.uploads.UploadObject(ctx, &transfermanager.UploadObjectInput{Bucket: &s.bucket, Key: &key, Body: data})
	return explain(err)
}

// Get implements bucket.Store.
func (s *store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return nil, explain(err)
	}
	return out.Body, nil
}

// Touch implements bucket.Store: the object is copied onto itself, which the
// service allows if some metadata changes.
func (s *store) Touch(ctx context.Context, key string) error {
	head, err := s.head(ctx, key)
	if err != nil {
		return err
	}
	source := url.PathEscape(s.bucket + "/" + key)
	if size := aws.ToInt64(head.ContentLength); size > maxCopy {
		return s.copyParts(ctx, key, source, size)
	}
	_, err = s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &s.bucket, Key: &key, CopySource: &source, MetadataDirective: types.MetadataDirectiveReplace,
		Metadata: map[string]string{"updated-at": time.Now().UTC().Format(time.RFC3339)},
	})
	return explain(err)
}

// copyParts copies an object onto itself piece by piece.
func (s *store) copyParts(ctx context.Context, key, source string, size int64) (err error) {
	up, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return explain(err)
	}
	defer func() {
		if err != nil {
			// Parts that are left cost money until somebody removes them.
			_, _ = s.client.AbortMultipartUpload(context.WithoutCancel(ctx),
				&s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: up.UploadId})
		}
	}()
	var parts []types.CompletedPart
	for at := int64(0); at < size; at += copyPart {
		number := aws.Int32(int32(len(parts) + 1))
		span := fmt.Sprintf("bytes=%d-%d", at, min(at+copyPart, size)-1)
		out, err := s.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: &s.bucket, Key: &key, CopySource: &source, CopySourceRange: &span, PartNumber: number, UploadId: up.UploadId,
		})
		if err != nil {
			return explain(err)
		}
		parts = append(parts, types.CompletedPart{ETag: out.CopyPartResult.ETag, PartNumber: number})
	}
	_, err = s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return explain(err)
}
