package cdi

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"

	"github.com/kilnbuild/kiln/solver/executor"
)

// Annotations of specifications and devices that mean something here.
const (
	annotationClass     = "org.mobyproject.buildkit.device.class"
	annotationAutoAllow = "org.mobyproject.buildkit.device.autoallow"
)

// anyName asks for all devices of a kind.
const anyName = "*"

// Config says where specifications are and who may use what.
type Config struct {
	// SpecDirs are the directories of specifications, the last one with the
	// highest priority. They need not exist.
	SpecDirs []string
	// AutoAllowed has full names and kinds that every build may use.
	AutoAllowed []string
}

// Device is one device.
type Device struct {
	// Name is the full name.
	Name string
	// AutoAllow says that builds need no entitlement for it.
	AutoAllow bool
	// Annotations are those of the specification and of the device.
	Annotations map[string]string
}

// Registry has the devices. A nil Registry has none.
type Registry struct {
	cache       *cdi.Cache
	autoAllowed []string
}

// New returns the registry of some directories.
func New(cfg Config) (*Registry, error) {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(cfg.SpecDirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, fmt.Errorf("open device specifications: %w", err)
	}
	return &Registry{cache: cache, autoAllowed: cfg.AutoAllowed}, nil
}

// Problems says what is wrong with specifications; their devices are missing.
func (r *Registry) Problems() error {
	if r == nil {
		return nil
	}
	return r.cache.Refresh()
}

// List returns the devices that are there now, ordered by name.
func (r *Registry) List() []Device {
	if r == nil {
		return nil
	}
	// A bad specification must not hide the good ones; see Problems.
	_ = r.cache.Refresh()
	var out []Device
	for _, name := range r.cache.ListDevices() {
		if d := r.cache.GetDevice(name); d != nil {
			out = append(out, r.device(name, d))
		}
	}
	return out
}

func (r *Registry) device(name string, d *cdi.Device) Device {
	annotations := maps.Clone(d.GetSpec().Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, d.Annotations)
	kind, _, _ := strings.Cut(name, "=")
	allow, err := strconv.ParseBool(annotations[annotationAutoAllow])
	return Device{
		Name: name, Annotations: annotations,
		AutoAllow: err == nil && allow || slices.Contains(r.autoAllowed, name) || slices.Contains(r.autoAllowed, kind),
	}
}

// Find returns the devices that a request names: kind=name for one, kind=* for
// all of a kind, the kind alone for its first one, or a class for all of that
// class.
func (r *Registry) Find(request string) []Device { return find(r.List(), request) }

func find(all []Device, request string) []Device {
	kind, name, named := strings.Cut(request, "=")
	var out []Device
	if vendor, _ := parser.ParseQualifier(kind); vendor != "" {
		for _, d := range all {
			if !strings.HasPrefix(d.Name, kind+"=") || named && name != anyName && name != "" && d.Name != request {
				continue
			}
			out = append(out, d)
			if name == "" {
				break
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, d := range all {
		if request != "" && d.Annotations[annotationClass] == request {
			out = append(out, d)
		}
	}
	return out
}

// Inject gives the container of spec the devices. The error is errdefs NotFound
// if there is none of a name that is not optional.
func (r *Registry) Inject(spec *specs.Spec, requests []executor.Device) error {
	if len(requests) == 0 {
		return nil
	}
	all := r.List()
	var names []string
	for _, want := range requests {
		found := find(all, want.Name)
		if len(found) == 0 && !want.Optional {
			return Missing(want.Name)
		}
		for _, d := range found {
			if !slices.Contains(names, d.Name) {
				names = append(names, d.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	if _, err := r.cache.InjectDevices(spec, names...); err != nil {
		return fmt.Errorf("add devices %s: %w", strings.Join(names, ", "), err)
	}
	return nil
}

// Missing is the error for a device that is not there.
func Missing(name string) error {
	return fmt.Errorf("required device %q is not registered: %w", name, errdefs.ErrNotFound)
}
