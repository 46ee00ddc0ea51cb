package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

func TestDebugOnSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "debug.sock")
	if err := serveDebug(t.Context(), "unix://"+path, http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	resp, err := client.Get("http://debug/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Fatalf("handler: %s", resp.Status)
	}
	for _, bad := range []string{"nowhere", "ftp://127.0.0.1:1"} {
		if err := serveDebug(t.Context(), bad, http.NotFoundHandler()); err == nil {
			t.Errorf("address %s was accepted", bad)
		}
	}
}
