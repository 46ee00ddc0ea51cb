package history

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/pb/control"
)

// result is where a record tells about one part of the result; the platform is
// empty if there is only one.
func result(r *control.BuildHistoryRecord, platform string) *control.BuildResultInfo {
	if platform == "" {
		if r.Result == nil {
			r.Result = &control.BuildResultInfo{}
		}
		return r.Result
	}
	if r.Results == nil {
		r.Results = map[string]*control.BuildResultInfo{}
	}
	if r.Results[platform] == nil {
		r.Results[platform] = &control.BuildResultInfo{}
	}
	return r.Results[platform]
}

// writePredicates stores what is said about the result; ctx is one of lease.
func (s *Store) writePredicates(ctx context.Context, r *control.BuildHistoryRecord, list []build.Predicate) error {
	var errs []error
	for _, p := range list {
		data, err := p.Data()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		desc, err := s.writeBlob(ctx, mediaStatement, func(w io.Writer) error {
			_, err := w.Write(data)
			return err
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		desc.Annotations = map[string]string{annotationPredicate: p.Type}
		info := result(r, p.Platform)
		info.Attestations = append(info.Attestations, desc)
	}
	return errors.Join(errs...)
}

// What a record takes of a result's metadata: frontends write it, and records
// are sent in lists.
const (
	maxValue    = 64 << 10
	maxMetadata = 1 << 20
)

// response is what a record tells of the result and its exports, by name.
func response(rec *build.Record) map[string]string {
	var out map[string]string
	size := 0
	for _, k := range slices.Sorted(maps.Keys(rec.Metadata)) {
		v := rec.Metadata[k]
		n := len(k) + len(v)
		if n > maxValue || size+n > maxMetadata || !utf8.ValidString(k) || !utf8.Valid(v) {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = string(v)
		size += n
	}
	if rec.Response == nil {
		return out
	}
	if out == nil {
		return rec.Response.Values
	}
	maps.Copy(out, rec.Response.Values)
	return out
}
