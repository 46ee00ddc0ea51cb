package history

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver/pb/control"
)

// backlog is how many events a listener may be behind before it is dropped.
const backlog = 1024

// listener follows changes.
type listener struct {
	ref    string
	events chan *control.BuildHistoryEvent
	// behind is closed when the listener could not keep up.
	behind chan struct{}
}

// tell passes an event to all listeners. One that does not keep up is dropped
// and not waited for.
func (s *Store) tell(ev *control.BuildHistoryEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		if l.ref != "" && l.ref != ev.GetRecord().GetRef() {
			continue
		}
		select {
		case l.events <- ev:
		default:
			delete(s.listeners, l)
			close(l.behind)
		}
	}
}

func (s *Store) listen(ref string) (l *listener, active []*control.BuildHistoryRecord) {
	l = &listener{ref: ref, events: make(chan *control.BuildHistoryEvent, backlog), behind: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[l] = struct{}{}
	s.listening[ref]++
	for _, id := range slices.Sorted(maps.Keys(s.active)) {
		if ref == "" || ref == id {
			active = append(active, s.active[id])
		}
	}
	return l, active
}

func (s *Store) unlisten(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	if s.listening[l.ref]--; s.listening[l.ref] == 0 {
		delete(s.listening, l.ref)
	}
}

// Listen calls emit with the running builds, then the stored ones, then what
// happens, until ctx ends; or, if the request says so, not the latter. Filters
// and the limit are for stored records.
func (s *Store) Listen(ctx context.Context, req *control.BuildHistoryRequest, emit func(*control.BuildHistoryEvent) error) error {
	match, err := parseFilters(req.GetFilter())
	if err != nil {
		return err
	}
	l, active := s.listen(req.GetRef())
	defer s.unlisten(l)
	for _, r := range active {
		if err := emit(&control.BuildHistoryEvent{Type: control.BuildHistoryEventType_STARTED, Record: r}); err != nil {
			return err
		}
	}
	if !req.GetActiveOnly() {
		if err := s.emitStored(req, match, emit); err != nil {
			return err
		}
	}
	if req.GetEarlyExit() {
		return nil
	}
	for {
		select {
		case ev := <-l.events:
			if err := emit(ev); err != nil {
				return err
			}
		case <-l.behind:
			return fmt.Errorf("history listener is more than %d events behind: %w", backlog, errdefs.ErrResourceExhausted)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *Store) emitStored(req *control.BuildHistoryRequest, match filters.Filter, emit func(*control.BuildHistoryEvent) error) error {
	list, err := s.all()
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(r *control.BuildHistoryRecord) bool {
		return req.GetRef() != "" && r.GetRef() != req.GetRef() || !match.Match(adapt(r))
	})
	slices.SortFunc(list, func(a, b *control.BuildHistoryRecord) int {
		return b.GetCreatedAt().AsTime().Compare(a.GetCreatedAt().AsTime())
	})
	if n := int(req.GetLimit()); n > 0 && len(list) > n {
		list = list[:n]
	}
	for _, r := range list {
		if err := emit(&control.BuildHistoryEvent{Type: control.BuildHistoryEventType_COMPLETE, Record: r}); err != nil {
			return err
		}
	}
	return nil
}

func parseFilters(in []string) (filters.Filter, error) {
	f, err := filters.ParseAll(in...)
	if err != nil {
		return nil, fmt.Errorf("history filter: %w", errors.Join(err, errdefs.ErrInvalidArgument))
	}
	return f, nil
}

// adapt gives filters the fields of a record.
func adapt(r *control.BuildHistoryRecord) filters.Adaptor {
	return filters.AdapterFunc(func(field []string) (string, bool) {
		if len(field) != 1 {
			return "", false
		}
		switch field[0] {
		case "ref":
			return r.GetRef(), true
		case "status":
			return status(r), true
		case "repository":
			v, ok := r.GetFrontendAttrs()["vcs:source"]
			return v, ok
		}
		return "", false
	})
}

// codeCanceled is gRPC's code of a cancelled call.
const codeCanceled = 1

func status(r *control.BuildHistoryRecord) string {
	switch {
	case r.GetCompletedAt() == nil:
		return "running"
	case r.GetError() == nil:
		return "completed"
	case r.GetError().GetCode() == codeCanceled:
		return "canceled"
	}
	return "error"
}
