package manifest

import (
	"fmt"
	"maps"
	"regexp"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotationKey is the form of names of annotations among attributes and
// metadata: "annotation", "-" and where it goes, "[" and a platform "]", "."
// and the name it gets.
var annotationKey = regexp.MustCompile(`^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$`)

// Annotations are texts for manifests and indexes. The zero value has none.
type Annotations struct {
	// index is on the index, indexDescriptor on what points to it.
	index, indexDescriptor map[string]string
	// byPlatform has those of manifests; "" is for all platforms.
	byPlatform map[string]manifestAnnotations
}

// manifestAnnotations are on a manifest and on what points to it.
type manifestAnnotations struct {
	manifest, descriptor map[string]string
}

// parse adds the annotation that k and v give; ok is false if k is no name of
// an annotation.
func (a *Annotations) parse(k, v string) (ok bool, err error) {
	m := annotationKey.FindStringSubmatch(k)
	if m == nil {
		return false, nil
	}
	where, platform, name := m[1], m[2], m[3]
	if platform != "" {
		p, err := platforms.Parse(platform)
		if err != nil {
			return true, fmt.Errorf("annotation %q: %w", k, err)
		}
		platform = platforms.FormatAll(p)
	}
	switch where {
	case "", "manifest":
		a.platform(platform).manifest[name] = v
	case "manifest-descriptor":
		a.platform(platform).descriptor[name] = v
	case "index":
		set(&a.index, name, v)
	case "index-descriptor":
		set(&a.indexDescriptor, name, v)
	default:
		return true, fmt.Errorf("unrecognized annotation type %s in %q: %w", where, k, errdefs.ErrInvalidArgument)
	}
	if where == "index" || where == "index-descriptor" {
		// A platform means nothing here, but it must exist all the same.
		a.platform(platform)
	}
	return true, nil
}

func set(to *map[string]string, k, v string) {
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[k] = v
}

func (a *Annotations) platform(id string) manifestAnnotations {
	m, ok := a.byPlatform[id]
	if !ok {
		m = manifestAnnotations{map[string]string{}, map[string]string{}}
		if a.byPlatform == nil {
			a.byPlatform = map[string]manifestAnnotations{}
		}
		a.byPlatform[id] = m
	}
	return m
}

func (a *Annotations) clone() Annotations {
	c := Annotations{index: maps.Clone(a.index), indexDescriptor: maps.Clone(a.indexDescriptor)}
	for id, m := range a.byPlatform {
		to := c.platform(id)
		maps.Copy(to.manifest, m.manifest)
		maps.Copy(to.descriptor, m.descriptor)
	}
	return c
}

// of returns the annotations for the manifest of one platform: those for it
// win over those for all.
func (a *Annotations) of(p ocispecs.Platform) manifestAnnotations {
	out := manifestAnnotations{map[string]string{}, map[string]string{}}
	for _, id := range []string{"", platforms.FormatAll(p)} {
		maps.Copy(out.manifest, a.byPlatform[id].manifest)
		maps.Copy(out.descriptor, a.byPlatform[id].descriptor)
	}
	return out
}

// check refuses annotations that the image has no place for.
func (a *Annotations) check(list []ocispecs.Platform, multi, oci bool) error {
	known := map[string]bool{"": true}
	for _, p := range list {
		known[platforms.FormatAll(p)] = true
	}
	descriptors := len(a.index) + len(a.indexDescriptor)
	for id, m := range a.byPlatform {
		if !known[id] {
			return fmt.Errorf("invalid annotation: no platform %s found in source: %w", id, errdefs.ErrInvalidArgument)
		}
		descriptors += len(m.descriptor)
	}
	if !oci && descriptors > 0 {
		return conflict("cannot export annotations with \"oci-mediatypes=false\"")
	}
	if !multi && len(a.index)+len(a.indexDescriptor) > 0 {
		return fmt.Errorf("index annotations not supported for single platform export: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}
