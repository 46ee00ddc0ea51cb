package history

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

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

// listen adds a listener, and returns the running builds it is to be told of.
func (s *Store) listen(ref string) (l *listener, active []*control.BuildHistoryRecord, err error) {
	l = &listener{ref: ref, events: make(chan *control.BuildHistoryEvent, backlog), behind: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deleted[ref] {
		return nil, nil, fmt.Errorf("ref %s is deleted: %w: %w", ref, os.ErrNotExist, errdefs.ErrNotFound)
	}
	s.listeners[l] = struct{}{}
	if ref != "" {
		s.listening[ref]++
	}
	for _, id := range slices.Sorted(maps.Keys(s.active)) {
		if ref == "" || ref == id {
			active = append(active, s.active[id])
		}
	}
	return l, active, nil
}

// unlisten removes a listener, and the record that it was the last to follow
// if that was to be deleted.
func (s *Store) unlisten(ctx context.Context, l *listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	due := false
	if l.ref != "" {
		if s.listening[l.ref]--; s.listening[l.ref] == 0 {
			delete(s.listening, l.ref)
			due = s.deleted[l.ref]
		}
	}
	s.mu.Unlock()
	if due {
		if err := s.remove(context.WithoutCancel(ctx), l.ref); err != nil {
			log.G(ctx).WithError(err).Errorf("delete build record %s", l.ref)
		}
	}
}

// Listen calls emit with the running builds, then the stored ones, then what
// happens, until ctx ends; or, if the request says so, not the latter. Filters
// and the limit are for stored records.
func (s *Store) Listen(ctx context.Context, req *control.BuildHistoryRequest, emit func(*control.BuildHistoryEvent) error) error {
	match, err := parseFilters(req.GetFilter(), s.cfg.Now())
	if err != nil {
		return err
	}
	if req.GetLimit() < 0 {
		return fmt.Errorf("invalid limit %d: %w", req.GetLimit(), errdefs.ErrInvalidArgument)
	}
	// Builds that have ended are not shown as running.
	if err := s.settle(ctx, req.GetRef()); err != nil {
		return err
	}
	l, active, err := s.listen(req.GetRef())
	if err != nil {
		return err
	}
	defer s.unlisten(ctx, l)
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

func (s *Store) emitStored(req *control.BuildHistoryRequest, match matcher, emit func(*control.BuildHistoryEvent) error) error {
	list, err := s.all()
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(r *control.BuildHistoryRecord) bool {
		return req.GetRef() != "" && r.GetRef() != req.GetRef() || !match(r)
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
