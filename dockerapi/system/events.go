package system

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/kilnbuild/kiln/dockerapi/event"
	"github.com/kilnbuild/kiln/dockerapi/route"
)

// named are filters by the name of something; only images have any here.
var named = []string{"config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"}

// message is an event as clients know it. Status and ID are for older ones.
type message struct {
	Status   string `json:"status,omitempty"`
	ID       string `json:"id,omitempty"`
	Type     string
	Action   string
	Actor    actor
	Scope    string `json:"scope,omitempty"`
	Time     int64  `json:"time,omitempty"`
	TimeNano int64  `json:"timeNano,omitempty"`
}

type actor struct {
	ID         string
	Attributes map[string]string
}

// listener is one request for events.
type listener struct {
	since, until time.Time
	filters      route.Filters
	version      route.Version
	// before and after stand around each message.
	before, after []byte
	kind          string
}

// newListener reads a request.
func newListener(r *http.Request) (*listener, error) {
	l := &listener{version: route.VersionOf(r), kind: "application/json", after: []byte("\n")}
	now := time.Now()
	var err error
	if l.since, err = route.Time(r.FormValue("since"), now); err != nil {
		return nil, err
	}
	if l.until, err = route.Time(r.FormValue("until"), now); err != nil {
		return nil, err
	}
	if !l.until.IsZero() && l.until.Before(l.since) {
		return nil, fmt.Errorf("`since` time (%s) cannot be after `until` time (%s): %w", r.FormValue("since"), r.FormValue("until"), errdefs.ErrInvalidArgument)
	}
	if l.filters, err = route.ParseFilters(r, append([]string{"event", "image", "label", "scope", "type", "builder"}, named...)...); err != nil {
		return nil, err
	}
	if !l.version.Before(52) {
		l.kind = "application/jsonl"
	}
	for _, accepted := range strings.Split(r.Header.Get("Accept"), ",") {
		switch media, _, _ := strings.Cut(strings.TrimSpace(accepted), ";"); media {
		case "application/x-ndjson", "application/jsonl":
			l.kind = media
			return l, nil
		case "application/json-seq":
			l.kind, l.before = media, []byte{0x1e}
			return l, nil
		}
	}
	return l, nil
}

// events answers GET /events.
func (s *Server) events(w http.ResponseWriter, r *http.Request, _ string) error {
	l, err := newListener(r)
	if err != nil {
		return err
	}
	past, sub := s.cfg.Events.Subscribe()
	defer sub.Close()
	w.Header().Set("Content-Type", l.kind)
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	if err := control.Flush(); err != nil {
		return err
	}
	if !l.since.IsZero() || !l.until.IsZero() {
		for _, e := range past {
			if err := l.send(w, e); err != nil {
				return err
			}
		}
	}
	var end <-chan time.Time
	if !l.until.IsZero() {
		timer := time.NewTimer(max(0, time.Until(l.until)))
		defer timer.Stop()
		end = timer.C
	}
	for {
		if err := control.Flush(); err != nil {
			return err
		}
		select {
		case e := <-sub.Events():
			if err := l.send(w, e); err != nil {
				return err
			}
		case <-end:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

// send writes an event if it was asked for.
func (l *listener) send(w http.ResponseWriter, e event.Event) error {
	if !l.wants(e) {
		return nil
	}
	m := message{
		Type: e.Type, Action: e.Action, Actor: actor{e.ID, e.Attributes}, Scope: "local",
		Time: e.Time.Unix(), TimeNano: e.Time.UnixNano(),
	}
	if m.Actor.Attributes == nil {
		m.Actor.Attributes = map[string]string{}
	}
	if l.version.Before(52) && e.Type == event.TypeImage {
		m.Status, m.ID = e.Action, e.ID
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(slices.Concat(l.before, data, l.after))
	return err
}

// wants tells whether an event was asked for.
func (l *listener) wants(e event.Event) bool {
	if e.Time.Before(l.since) || !l.until.IsZero() && e.Time.After(l.until) {
		return false
	}
	if e.Type == event.TypeImage && e.Action == "create" && l.version.Before(46) {
		return false
	}
	one := func(key string, values ...string) bool {
		list, ok := l.filters[key]
		return !ok || slices.ContainsFunc(values, func(v string) bool { return slices.Contains(list, v) })
	}
	name := e.Attributes["name"]
	if !one("type", e.Type) || !one("event", e.Action) || !one("scope", "local") || !one("image", e.ID, name, repository(e.ID), repository(name)) {
		return false
	}
	for _, key := range append([]string{"builder"}, named...) {
		if list, ok := l.filters[key]; ok && !slices.ContainsFunc(list, func(v string) bool { return e.ID == v || name == v }) {
			return false
		}
	}
	return l.labelled(e.Attributes)
}

// labelled tells whether all labels that were asked for are there.
func (l *listener) labelled(attributes map[string]string) bool {
	for _, want := range l.filters["label"] {
		key, value, exact := strings.Cut(want, "=")
		if got, ok := attributes[key]; !ok || exact && got != value {
			return false
		}
	}
	return true
}

// repository is a name without its tag.
func repository(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarName(ref)
}
