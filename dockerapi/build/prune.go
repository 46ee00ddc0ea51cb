package build

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/dockerapi/route"
	"github.com/kilnbuild/kiln/solver/ref"
)

// pruned is the answer to a prune.
type pruned struct {
	CachesDeleted  []string
	SpaceReclaimed uint64
}

// prune answers POST /build/prune.
func (s *Server) prune(w http.ResponseWriter, r *http.Request, _ string) error {
	if route.VersionOf(r).Before(31) {
		return &route.StatusError{Status: http.StatusNotFound, Err: fmt.Errorf("page not found")}
	}
	opt, err := pruneOptions(r)
	if err != nil {
		return err
	}
	var answer pruned
	err = s.cfg.Refs.Prune(r.Context(), opt, func(u ref.Usage) {
		answer.CachesDeleted = append(answer.CachesDeleted, u.ID)
		answer.SpaceReclaimed += uint64(max(u.Size, 0))
	})
	if err == nil && s.cfg.Pruned != nil {
		err = s.cfg.Pruned(r.Context())
	}
	if err != nil {
		return fmt.Errorf("prune build cache: %w", err)
	}
	if s.cfg.Event != nil {
		s.cfg.Event("prune", map[string]string{"reclaimed": strconv.FormatUint(answer.SpaceReclaimed, 10)})
	}
	return route.WriteJSON(w, http.StatusOK, answer)
}

// fields are the filters that are fields of records of the cache; flags those
// that have no value.
var (
	fields = []string{"id", "parent", "type", "description"}
	flags  = []string{"inuse", "shared", "private"}
)

func pruneOptions(r *http.Request) (opt ref.PruneOptions, err error) {
	opt.All = route.Bool(r, "all")
	known := append(append([]string{"unused-for", "until", "label", "label!"}, fields...), flags...)
	filters, err := route.ParseFilters(r, known...)
	if err != nil {
		return opt, err
	}
	if opt.KeepDuration, err = keepDuration(filters); err != nil {
		return opt, err
	}
	if opt.Filters, err = cacheFilter(filters); err != nil {
		return opt, err
	}
	for name, to := range map[string]*int64{
		"keep-storage": &opt.ReservedSpace, "reserved-space": &opt.ReservedSpace, "max-used-space": &opt.MaxUsedSpace, "min-free-space": &opt.MinFreeSpace,
	} {
		n, err := route.Int(r, name)
		if err != nil {
			return opt, err
		}
		if n < 0 {
			return opt, fmt.Errorf("invalid %s %d: want a number of bytes: %w", name, n, errdefs.ErrInvalidArgument)
		}
		*to = max(*to, n)
	}
	return opt, nil
}

// keepDuration reads how recently used records are spared: both filters mean
// the same, a duration or a time.
func keepDuration(filters route.Filters) (time.Duration, error) {
	values := slices.Concat(filters["until"], filters["unused-for"])
	if len(values) == 0 {
		return 0, nil
	}
	if len(values) > 1 {
		return 0, fmt.Errorf("filters expect only one value: unused-for and until are the same: %w", errdefs.ErrInvalidArgument)
	}
	d, err := time.ParseDuration(values[0])
	if err == nil && d >= 0 {
		return d, nil
	}
	if seconds, err := strconv.ParseInt(values[0], 10, 64); err == nil {
		return max(time.Since(time.Unix(seconds, 0)), 0), nil
	}
	if at, err := time.Parse(time.RFC3339, values[0]); err == nil {
		return max(time.Since(at), 0), nil
	}
	return 0, route.ErrFilter("unused-for", values)
}

// cacheFilter makes one filter in containerd's syntax, all parts of which must
// hold. Records have no labels.
func cacheFilter(filters route.Filters) ([]string, error) {
	var parts []string
	for _, key := range fields {
		values := filters[key]
		if len(values) > 1 {
			return nil, route.ErrFilter(key, values)
		}
		for _, v := range values {
			name, op := key, "=="
			if key == "parent" {
				name, op = "parents", "~="
			}
			parts = append(parts, name+op+strconv.Quote(v))
		}
	}
	for _, key := range flags {
		on, err := filters.One(key, false)
		if err != nil {
			return nil, err
		}
		if _, given := filters[key]; given && on {
			parts = append(parts, key)
		}
	}
	if len(parts) == 0 {
		return nil, nil
	}
	return []string{strings.Join(parts, ",")}, nil
}
