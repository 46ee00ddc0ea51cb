package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Sample is one measured build.
type Sample struct {
	Workload string  `json:"workload"`
	Phase    string  `json:"phase"`
	Daemon   string  `json:"daemon"`
	Round    int     `json:"round"`
	Seconds  float64 `json:"seconds"`
}

// String is the progress line of the sample.
func (s Sample) String() string {
	return fmt.Sprintf("%s, %s, round %d, %s: %.3f s", s.Workload, s.Phase, s.Round+1, s.Daemon, s.Seconds)
}

// MemorySample is one reading of a daemon's memory.
type MemorySample struct {
	Moment string `json:"moment"`
	Daemon string `json:"daemon"`
	Memory
}

// Report is the outcome of a run.
type Report struct {
	Daemons []Daemon       `json:"daemons"`
	Rounds  int            `json:"rounds"`
	Scale   int            `json:"scale"`
	Samples []Sample       `json:"samples"`
	Memory  []MemorySample `json:"memory"`
}

// Row is one line of the table: one phase of one workload on one daemon.
type Row struct {
	Workload string `json:"workload"`
	Phase    string `json:"phase"`
	Daemon   string `json:"daemon"`
	// Min and Median are seconds over the rounds.
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	// Ratio is the median over rounds of the first daemon's time divided by
	// this one's: above 1 is faster than the first.
	Ratio float64 `json:"ratio"`
}

// readMemory adds a reading of every daemon whose process is known.
func (r *Report) readMemory(moment string, daemons []Daemon) error {
	for _, d := range daemons {
		m, ok, err := d.Memory()
		if err != nil {
			return err
		}
		if ok {
			r.Memory = append(r.Memory, MemorySample{Moment: moment, Daemon: d.Name, Memory: m})
		}
	}
	return nil
}

// Rows sums the samples up, in the order they were taken.
func (r *Report) Rows() []Row {
	type key struct{ workload, phase, daemon string }
	seconds := map[key][]float64{}
	var order []key
	for _, s := range r.Samples {
		k := key{s.Workload, s.Phase, s.Daemon}
		if seconds[k] == nil {
			order = append(order, k)
		}
		seconds[k] = append(seconds[k], s.Seconds)
	}
	var rows []Row
	for _, k := range order {
		own := seconds[k]
		base := seconds[key{k.workload, k.phase, r.Daemons[0].Name}]
		var ratios []float64
		for i := range min(len(own), len(base)) {
			ratios = append(ratios, base[i]/own[i])
		}
		rows = append(rows, Row{k.workload, k.phase, k.daemon, slices.Min(own), median(own), median(ratios)})
	}
	return rows
}

// median is the middle value, or the mean of the two middle ones; 0 for none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// WriteTable prints times, ratios and memory for people.
func (r *Report) WriteTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "WORKLOAD\tPHASE\tDAEMON\tMIN s\tMEDIAN s\tTIMES AS FAST AS %s\n", r.Daemons[0].Name)
	for _, row := range r.Rows() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%.3f\t%.3f\t%.2f\n", row.Workload, row.Phase, row.Daemon, row.Min, row.Median, row.Ratio)
	}
	if len(r.Memory) > 0 {
		fmt.Fprintf(w, "\t\t\t\t\t\nMEMORY\t\tDAEMON\tNOW MB\tPEAK MB\t\n")
	}
	for _, m := range r.Memory {
		fmt.Fprintf(w, "%s\t\t%s\t%.1f\t%.1f\t\n", m.Moment, m.Daemon, float64(m.Resident)/1e6, float64(m.Peak)/1e6)
	}
	return w.Flush()
}

// WriteJSON prints everything, samples and table rows, for programs.
func (r *Report) WriteJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		*Report
		Rows []Row `json:"rows"`
	}{r, r.Rows()})
}
