package clouds

import (
	"net/http/httptest"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// S3 starts an object store with one empty bucket and returns the attributes
// of a cache in it.
func S3(t testing.TB) map[string]string {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("caches"); err != nil {
		t.Fatalf("make bucket: %v", err)
	}
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	return map[string]string{
		"bucket": "caches", "region": "nowhere", "endpoint_url": srv.URL, "use_path_style": "true",
		"access_key_id": "id", "secret_access_key": "secret",
	}
}
