package system

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/dockerapi/route"
)

// noSwarm is what an engine outside of a swarm says.
const noSwarm = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`

// methods are those that clients use.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete}

// refused is the answer to what only an engine could do.
func refused(what string) error {
	return &route.StatusError{Status: http.StatusNotImplemented,
		Err: fmt.Errorf("this is a builder: it does not %s: %w", what, errdefs.ErrNotImplemented)}
}

// refuse answers with a refusal.
func refuse(what string) route.Handler {
	return func(http.ResponseWriter, *http.Request, string) error { return refused(what) }
}

// empty answers with a listing of nothing.
func empty(v any) route.Handler {
	return func(w http.ResponseWriter, _ *http.Request, _ string) error {
		return route.WriteJSON(w, http.StatusOK, v)
	}
}

// absent answers that there is nothing with a name; %s in the format is it.
func absent(format string) route.Handler {
	return func(_ http.ResponseWriter, _ *http.Request, name string) error {
		// What follows the name is what was asked about it.
		name, _, _ = strings.Cut(name, "/")
		return &route.StatusError{Status: http.StatusNotFound, Err: fmt.Errorf(format, name)}
	}
}

// unavailable answers that there is no swarm.
func unavailable(http.ResponseWriter, *http.Request, string) error {
	return &route.StatusError{Status: http.StatusServiceUnavailable, Err: fmt.Errorf("%s", noSwarm)}
}

// registerAbsent adds what a builder does not have.
func registerAbsent(m *route.Mux) {
	none := []string{}
	m.Handle(http.MethodGet, "/containers/json", empty(none))
	m.Handle(http.MethodGet, "/networks", empty(none))
	m.Handle(http.MethodGet, "/plugins", empty(none))
	m.Handle(http.MethodGet, "/volumes", empty(struct{ Volumes, Warnings []string }{Volumes: none}))
	m.Handle(http.MethodPost, "/containers/prune", empty(struct {
		ContainersDeleted []string
		SpaceReclaimed    int64
	}{}))
	m.Handle(http.MethodPost, "/volumes/prune", empty(struct {
		VolumesDeleted []string
		SpaceReclaimed int64
	}{}))
	m.Handle(http.MethodPost, "/networks/prune", empty(struct{ NetworksDeleted []string }{}))

	m.Handle(http.MethodPost, "/containers/create", refuse("run containers; its images can be run by an engine or by containerd"))
	m.Handle(http.MethodPost, "/networks/create", refuse("have networks"))
	m.Handle(http.MethodPost, "/volumes/create", refuse("have volumes"))
	m.Handle(http.MethodPost, "/commit", refuse("run containers, so there is none to make an image of"))
	m.Handle(http.MethodGet, "/plugins/privileges", refuse("have plugins"))
	for _, path := range []string{"/plugins/pull", "/plugins/create"} {
		m.Handle(http.MethodPost, path, refuse("have plugins"))
	}
	for _, method := range methods {
		m.Handle(method, "/containers/{name}", absent("No such container: %s"))
		m.Handle(method, "/exec/{name}", absent("No such exec instance: %s"))
		m.Handle(method, "/networks/{name}", absent("network %s not found"))
		m.Handle(method, "/volumes/{name}", absent("get %s: no such volume"))
		m.Handle(method, "/plugins/{name}", absent("plugin %q not found"))
	}
	m.Handle(http.MethodPost, "/swarm/init", refuse("join swarms"))
	m.Handle(http.MethodPost, "/swarm/join", refuse("join swarms"))
	for _, kind := range []string{"swarm", "nodes", "services", "tasks", "secrets", "configs"} {
		for _, method := range methods {
			m.Handle(method, "/"+kind, unavailable)
			m.Handle(method, "/"+kind+"/{name}", unavailable)
		}
	}
}
