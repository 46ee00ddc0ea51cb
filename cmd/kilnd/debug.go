package main

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/log"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	nettrace "golang.org/x/net/trace"

	"github.com/kilnbuild/kiln/cmd/kilnd/listen"
)

// serveDebug serves profiles, variables and metrics at address, host:port or one with a scheme, until ctx ends. It
// opens the address before it returns.
func serveDebug(ctx context.Context, address string) error {
	if !strings.Contains(address, "://") {
		address = "tcp://" + address
	}
	opened, err := listen.Open(ctx, []string{address}, listen.Options{})
	if err != nil {
		return fmt.Errorf("listen for debugging: %w", err)
	}
	for _, l := range opened {
		serveDebugOn(ctx, l)
	}
	return nil
}

func serveDebugOn(ctx context.Context, l net.Listener) {
	server := &http.Server{Handler: debugHandler(), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.G(ctx).WithError(err).Error("debug server failed")
		}
	}()
	log.G(ctx).Infof("debugging is on http://%s/debug/pprof/", l.Addr())
}

func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/debug/vars", expvar.Handler())
	mux.Handle("/metrics", promhttp.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	// What packages record of themselves; the address is the operator's alone.
	mux.HandleFunc("/debug/requests", func(w http.ResponseWriter, r *http.Request) { nettrace.Render(w, r, true) })
	mux.HandleFunc("/debug/events", func(w http.ResponseWriter, r *http.Request) { nettrace.RenderEvents(w, r, true) })
	mux.HandleFunc("/debug/gc", func(http.ResponseWriter, *http.Request) { runtime.GC() })
	return mux
}
