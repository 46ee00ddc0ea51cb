package history

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/tonistiigi/go-csvvalue"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

// Bounds of a request's filters, which strangers write.
const (
	maxFilters   = 100
	maxFilterLen = 4 << 10
)

// matcher says whether a record is wanted.
type matcher func(*control.BuildHistoryRecord) bool

// parseFilters reads alternatives, each of which is a list in CSV of conditions
// that must all hold: containerd's filters on ref, status and repository; or
// startedAt and completedAt compared (">=", "<=", ">", "<") with a time in RFC
// 3339 or with how long ago it was; or duration compared with a time span.
// Nothing is everything.
func parseFilters(in []string, now time.Time) (matcher, error) {
	if len(in) == 0 {
		return func(*control.BuildHistoryRecord) bool { return true }, nil
	}
	if len(in) > maxFilters {
		return nil, fmt.Errorf("%d history filters are more than %d: %w", len(in), maxFilters, errdefs.ErrInvalidArgument)
	}
	var alternatives []matcher
	for _, text := range in {
		m, err := parseFilter(text, now)
		if err != nil {
			return nil, fmt.Errorf("history filter %.100q: %w: %w", text, err, errdefs.ErrInvalidArgument)
		}
		alternatives = append(alternatives, m)
	}
	return func(r *control.BuildHistoryRecord) bool {
		for _, m := range alternatives {
			if m(r) {
				return true
			}
		}
		return false
	}, nil
}

func parseFilter(text string, now time.Time) (matcher, error) {
	if len(text) > maxFilterLen {
		return nil, fmt.Errorf("longer than %d bytes", maxFilterLen)
	}
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, err
	}
	var all []matcher
	var rest []string
	for _, field := range fields {
		m, err := parseComparison(field, now)
		if err != nil {
			return nil, err
		}
		if m == nil {
			rest = append(rest, field)
			continue
		}
		all = append(all, m)
	}
	plain, err := filters.ParseAll(strings.Join(rest, ","))
	if err != nil {
		return nil, err
	}
	return func(r *control.BuildHistoryRecord) bool {
		for _, m := range all {
			if !m(r) {
				return false
			}
		}
		return plain.Match(adapt(r))
	}, nil
}

// parseComparison reads a condition on a time; nil for other conditions.
func parseComparison(field string, now time.Time) (matcher, error) {
	key, operator, value := split(field)
	switch key {
	case "startedAt", "completedAt":
		at, err := parseTime(value, now)
		if err != nil {
			return nil, err
		}
		return func(r *control.BuildHistoryRecord) bool {
			t := r.GetCreatedAt()
			if key == "completedAt" {
				t = r.GetCompletedAt()
			}
			// Times are compared in whole seconds, as people write them.
			return t != nil && compare(t.AsTime().Unix(), operator, at.Unix())
		}, nil
	case "duration":
		span, err := time.ParseDuration(value)
		if err != nil {
			return nil, fmt.Errorf("invalid duration %s", value)
		}
		return func(r *control.BuildHistoryRecord) bool {
			if r.GetCompletedAt() == nil {
				return false
			}
			took := r.GetCompletedAt().AsTime().Sub(r.GetCreatedAt().AsTime())
			return compare(int64(took), operator, int64(span))
		}, nil
	}
	return nil, nil
}

// split cuts a condition at its first comparison; operator is empty for none.
func split(field string) (key, operator, value string) {
	i := strings.IndexAny(field, "<>")
	if i < 0 {
		return "", "", ""
	}
	key, operator, value = field[:i], field[i:i+1], field[i+1:]
	if strings.HasPrefix(value, "=") {
		operator, value = operator+"=", value[1:]
	}
	return key, operator, value
}

func compare(a int64, operator string, b int64) bool {
	switch operator {
	case ">=":
		return a >= b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a < b
}

func parseTime(value string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(value); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid time %s", value)
	}
	return at, nil
}

// adapt gives filters the fields of a record.
func adapt(r *control.BuildHistoryRecord) filters.Adaptor {
	return filters.AdapterFunc(func(field []string) (string, bool) {
		if len(field) == 0 {
			return "", false
		}
		switch field[0] {
		case "ref":
			return r.GetRef(), r.GetRef() != ""
		case "status":
			return status(r), true
		case "repository":
			return repository(r.GetFrontendAttrs())
		}
		return "", false
	})
}

// repository is where the sources of a build came from.
func repository(attrs map[string]string) (string, bool) {
	if v, ok := attrs["vcs:source"]; ok {
		return v, true
	}
	remote, _, _ := strings.Cut(attrs["context"], "#")
	if strings.HasPrefix(remote, "git@") {
		return remote, true
	}
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" {
		return "", false
	}
	switch u.Scheme {
	case "git", "ssh":
	case "http", "https":
		if !strings.HasSuffix(u.Path, ".git") {
			return "", false
		}
	default:
		return "", false
	}
	u.RawQuery = ""
	return u.String(), true
}

// codeCanceled is gRPC's code of a cancelled call.
const codeCanceled = 1

func status(r *control.BuildHistoryRecord) string {
	switch {
	case r.GetCompletedAt() == nil:
		return "running"
	case r.GetError() == nil:
		return "completed"
	case r.GetError().GetCode() == codeCanceled || strings.Contains(r.GetError().GetMessage(), "context canceled"):
		return "canceled"
	}
	return "error"
}
