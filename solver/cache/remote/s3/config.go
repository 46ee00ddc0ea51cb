package s3

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/containerd/errdefs"
)

// defaultRefresh is the age from which blobs are touched.
const defaultRefresh = 24 * time.Hour

// config is the attributes of one cache.
type config struct {
	bucket, region                   string
	prefix, manifests, blobs         string
	names                            []string
	refresh                          time.Duration
	endpoint                         string
	keyID, secret, token             string
	pathStyle, disableAcceptEncoding bool
	parallel                         int
	retryMode                        aws.RetryMode
	retryAttempts                    int
}

// parse reads attributes. Errors are errdefs InvalidArgument and name the
// attribute.
func parse(attrs map[string]string) (*config, error) {
	c := &config{
		prefix: attrs["prefix"], manifests: "manifests/", blobs: "blobs/", names: []string{"buildkit"}, refresh: defaultRefresh,
		endpoint: attrs["endpoint_url"], keyID: attrs["access_key_id"], secret: attrs["secret_access_key"], token: attrs["session_token"],
		parallel: 4,
	}
	for name, to := range map[string]*string{"manifests_prefix": &c.manifests, "blobs_prefix": &c.blobs} {
		if v, ok := attrs[name]; ok {
			*to = v
		}
	}
	for name, from := range map[string]struct {
		env string
		to  *string
	}{"bucket": {"AWS_BUCKET", &c.bucket}, "region": {"AWS_REGION", &c.region}} {
		v, ok := attrs[name]
		if !ok {
			v, ok = os.LookupEnv(from.env)
		}
		if !ok {
			return nil, fmt.Errorf("%s ($%s) not set for s3 cache: %w", name, from.env, errdefs.ErrInvalidArgument)
		}
		*from.to = v
	}
	if v, ok := attrs["name"]; ok {
		c.names = strings.Split(v, ";")
	}
	// Values that mean nothing count as not given: clients rely on it.
	if d, err := time.ParseDuration(attrs["touch_refresh"]); err == nil {
		c.refresh = d
	}
	c.pathStyle, _ = strconv.ParseBool(attrs["use_path_style"])
	c.disableAcceptEncoding, _ = strconv.ParseBool(attrs["disable_accept_encoding"])
	return c, c.parseLimits(attrs)
}

// parseLimits reads what must make sense if it is given.
func (c *config) parseLimits(attrs map[string]string) error {
	for name, to := range map[string]*int{"upload_parallelism": &c.parallel, "retry_max_attempts": &c.retryAttempts} {
		v, ok := attrs[name]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 {
			return fmt.Errorf("%s must be a positive integer: %w", name, errdefs.ErrInvalidArgument)
		}
		*to = n
	}
	switch mode := attrs["retry_mode"]; mode {
	case "":
		if _, given := attrs["retry_mode"]; !given {
			return nil
		}
		fallthrough
	default:
		return fmt.Errorf("retry_mode must be \"standard\" or \"adaptive\": %w", errdefs.ErrInvalidArgument)
	case "standard", "adaptive":
		c.retryMode = aws.RetryMode(mode)
		return nil
	}
}
