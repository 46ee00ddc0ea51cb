package diagnose

import (
	"expvar"
	"net/http"
	"net/http/pprof"
	"runtime"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	nettrace "golang.org/x/net/trace"
)

// Handler serves profiles, variables, metrics and the build cache.
func (d *Diagnoser) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/debug/vars", expvar.Handler())
	mux.Handle("/metrics", promhttp.HandlerFor(d.config.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	// What packages record of themselves; the address is the operator's alone.
	mux.HandleFunc("/debug/requests", func(w http.ResponseWriter, r *http.Request) { nettrace.Render(w, r, true) })
	mux.HandleFunc("/debug/events", func(w http.ResponseWriter, r *http.Request) { nettrace.RenderEvents(w, r, true) })
	mux.HandleFunc("/debug/gc", func(http.ResponseWriter, *http.Request) { runtime.GC() })
	mux.HandleFunc("/debug/cache/all", d.serveAll)
	mux.HandleFunc("/debug/cache/lookup", d.serveLookup)
	mux.HandleFunc("GET /debug/cache/store", d.serveStore)
	mux.HandleFunc("POST /debug/cache/load", d.serveLoad)
	mux.HandleFunc("GET /debug/flight/trace", d.flight.read)
	mux.HandleFunc("POST /debug/flight/trace/start", d.flight.start)
	mux.HandleFunc("POST /debug/flight/trace/stop", d.flight.stop)
	mux.HandleFunc("POST /debug/flight/trace/set_period", d.flight.setPeriod)
	return mux
}
