package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/log"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
)

// serveDebug serves handler at address, host:port or one with a scheme, until ctx ends. It
// opens the address before it returns.
func serveDebug(ctx context.Context, address string, handler http.Handler) error {
	if !strings.Contains(address, "://") {
		address = "tcp://" + address
	}
	opened, err := listen.Open(ctx, []string{address}, listen.Options{})
	if err != nil {
		return fmt.Errorf("listen for debugging: %w", err)
	}
	for _, l := range opened {
		serveDebugOn(ctx, l, handler)
	}
	return nil
}

func serveDebugOn(ctx context.Context, l net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.G(ctx).WithError(err).Error("debug server failed")
		}
	}()
	log.G(ctx).Infof("debugging is on http://%s/debug/pprof/", l.Addr())
}
