package up

import "github.com/prometheus/client_golang/prometheus"

// newLeftOut is the metric of specs that no deriver runs: a deriver of its own
// would have said so itself.
func newLeftOut(count func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "millrace_deriver_left_out_tables", Help: "Derived tables that are not run, because of a fault in their spec or in a table that they read.",
	}, count)
}

// newBuild is the metric that names what runs; its value is always 1.
func newBuild(version string) prometheus.Collector {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millrace_build_info", Help: "1; the label is the version that runs."}, []string{"version"})
	g.WithLabelValues(version).Set(1)
	return g
}
