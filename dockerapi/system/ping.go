package system

import (
	"io"
	"net/http"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/dockerapi/route"
)

// ping tells that the daemon is there, and in the headers what it can do.
func ping(w http.ResponseWriter, r *http.Request, _ string) error {
	head := w.Header()
	head.Set("Builder-Version", "2")
	// Clients hide --squash from engines that do not say so.
	head.Set("Docker-Experimental", "true")
	head.Set("Swarm", "inactive")
	head.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	head.Set("Pragma", "no-cache")
	head.Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		head.Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	_, err := io.WriteString(w, "OK")
	return err
}

// component is one part of a version.
type component struct {
	Name    string
	Version string
	Details map[string]string `json:",omitempty"`
}

// version is the answer of GET /version.
type version struct {
	Platform      struct{ Name string }
	Components    []component
	Version       string
	ApiVersion    string // The API's spelling.
	MinAPIVersion string
	GitCommit     string
	GoVersion     string
	Os            string
	Arch          string
	KernelVersion string `json:",omitempty"`
	Experimental  bool
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request, _ string) error {
	v := version{
		Version: s.cfg.Version, GitCommit: s.cfg.Revision, ApiVersion: route.Newest.String(), MinAPIVersion: route.Oldest.String(),
		GoVersion: runtime.Version(), Os: runtime.GOOS, Arch: runtime.GOARCH, KernelVersion: kernel(), Experimental: true,
	}
	v.Platform.Name = "kiln"
	v.Components = []component{{Name: "Engine", Version: v.Version, Details: map[string]string{
		"ApiVersion": v.ApiVersion, "MinAPIVersion": v.MinAPIVersion, "GitCommit": v.GitCommit, "GoVersion": v.GoVersion,
		"Os": v.Os, "Arch": v.Arch, "KernelVersion": v.KernelVersion, "Experimental": "true",
	}}}
	return route.WriteJSON(w, http.StatusOK, v)
}

// kernel is the release of the running kernel; empty if it is not told.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
