package plugin

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/progress"
	"github.com/kilnbuild/kiln/solver/rpcerr"
)

// metrics counts builds. It is a build.Observer. Names and labels are those of
// the predecessor where it has them, so that dashboards go on working; no label
// has a value that a client can make up.
type metrics struct {
	builds, steps *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	running       prometheus.Gauge
}

// newMetrics registers the metrics, and those that others measure, until
// unregister is called.
func newMetrics(to prometheus.Registerer, measured []prometheus.Collector) (m *metrics, unregister func(), err error) {
	m = &metrics{
		builds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "buildkit_builds_total", Help: "Builds that ended, by status and, where they failed, by the code of the error.",
		}, []string{"status", "error_code"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "buildkit_builds_steps_total", Help: "Steps of builds that ended, by kind: total, completed, cached, warnings.",
		}, []string{"kind"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "buildkit_build_duration_seconds", Help: "Time from the start of a build to its end.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 16),
		}, []string{"status"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kiln_builds_running", Help: "Builds that run now."}),
	}
	all := append([]prometheus.Collector{m.builds, m.steps, m.duration, m.running}, measured...)
	unregister = func() {
		for _, c := range all {
			to.Unregister(c)
		}
	}
	for _, c := range all {
		if err := to.Register(c); err != nil {
			unregister()
			return nil, nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, unregister, nil
}

// Started counts a running build.
func (m *metrics) Started(*build.Record) { m.running.Inc() }

// Ended counts a build with its steps.
func (m *metrics) Ended(_ context.Context, rec *build.Record, _ *progress.Reader) {
	m.running.Dec()
	status, code := "success", ""
	if rec.Err != nil {
		status, code = "failure", rpcerr.Code(rec.Err).String()
	}
	m.builds.WithLabelValues(status, code).Inc()
	m.duration.WithLabelValues(status).Observe(rec.Completed.Sub(rec.Started).Seconds())
	m.steps.WithLabelValues("total").Add(float64(rec.Steps.Total))
	m.steps.WithLabelValues("completed").Add(float64(rec.Steps.Completed))
	m.steps.WithLabelValues("cached").Add(float64(rec.Steps.Cached))
	m.steps.WithLabelValues("warnings").Add(float64(rec.Steps.Warnings))
}
