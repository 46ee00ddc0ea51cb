package manifest

import (
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
	"github.com/kilnbuild/kiln/solver/ref"
)

// Options are the attributes that decide what an image looks like. Make them
// with ParseOptions and Finish.
type Options struct {
	// Exporter is the name on the wire of the exporter: "image", "oci" or
	// "docker". The caller sets it.
	Exporter string
	// Names is the attribute "name" as it was given: a list separated by
	// commas. "*" stands for the names in the result's metadata; Finish replaces it.
	Names string
	// Layers says how layers are compressed.
	Layers ref.LayerOptions
	// OCI selects the media types of OCI instead of Docker's.
	OCI bool
	// Artifact selects the form of attestation manifests.
	Artifact bool
	// Inline keeps attestations that are meant to travel with an image only.
	Inline bool
	// Foreign keeps the media types of layers that must not be distributed.
	Foreign bool
	// Rewrite bounds times inside new layers by the epoch as well.
	Rewrite bool
	// Epoch bounds the times in configurations.
	Epoch export.Epoch
	// Annotations by platform.
	Annotations Annotations

	// What was not given has no value before Finish.
	ociSet, artifactSet *bool
}

// ParseOptions takes the attributes of an image out of attrs and returns what
// is left. inline is the exporter's default of Options.Inline. Errors are of
// kind InvalidArgument and name the attribute.
func ParseOptions(attrs map[string]string, inline bool) (Options, map[string]string, error) {
	o := Options{Inline: inline, Layers: ref.LayerOptions{Compression: ref.Gzip}}
	rest := map[string]string{}
	for k, v := range attrs {
		known, err := o.set(k, v)
		if err != nil {
			return Options{}, nil, err
		}
		if !known {
			rest[k] = v
		}
	}
	if err := o.validate(); err != nil {
		return Options{}, nil, err
	}
	if err := o.checkCompression(); err != nil {
		return Options{}, nil, err
	}
	return o, rest, nil
}

// set stores one attribute.
func (o *Options) set(k, v string) (known bool, err error) {
	if known, err = o.Annotations.parse(k, v); known || err != nil {
		return known, err
	}
	switch k {
	case "name":
		o.Names = v
	case export.AttrEpoch:
		o.Epoch, err = export.ParseEpoch(v)
	case "compression":
		o.Layers.Compression = v
	case "compression-level":
		var level int
		if level, err = strconv.Atoi(v); err != nil {
			err = fmt.Errorf("non-integer value specified for %s: %q: %w", k, v, errdefs.ErrInvalidArgument)
		}
		o.Layers.Level = &level
	case "force-compression":
		o.Layers.Force, err = export.Bool(k, v)
	case "oci-mediatypes":
		err = setBool(&o.ociSet, k, v)
	case "oci-artifact":
		err = setBool(&o.artifactSet, k, v)
	case "attestation-inline":
		o.Inline, err = export.Bool(k, v)
	case "prefer-nondist-layers":
		o.Foreign, err = export.Bool(k, v)
	case "rewrite-timestamp":
		o.Rewrite, err = export.Bool(k, v)
	default:
		return false, nil
	}
	return true, err
}

func setBool(to **bool, k, v string) error {
	b, err := export.Bool(k, v)
	*to = &b
	return err
}

// Finish adds what only the result tells: annotations in its metadata, and
// defaults for what was not given.
func (o Options) Finish(src *export.Source) (Options, error) {
	o.Annotations = o.Annotations.clone()
	for k, v := range src.Metadata {
		if _, err := o.Annotations.parse(k, string(v)); err != nil {
			return Options{}, err
		}
	}
	if err := o.setDefaults(src); err != nil {
		return Options{}, err
	}
	o.OCI, o.Artifact = *o.ociSet, *o.artifactSet
	if o.Names == "*" {
		o.Names = string(src.Metadata[export.MetaImageName])
	}
	return o, o.validate()
}

// setDefaults decides what the attributes leave open, as the builder of the
// time did that the client wants.
func (o *Options) setDefaults(src *export.Source) error {
	version := src.Compatibility
	if version == 0 {
		version = solver.CompatibilityNow
	}
	if version == solver.Compatibility10 && o.Layers.Compression == ref.Zstd {
		return &solver.CompatibilityError{Version: version, Feature: o.Exporter + " exporter compression=" + ref.Zstd}
	}
	now := version >= solver.Compatibility30
	if o.ociSet == nil {
		oci := now || o.Exporter == exporterOCI || len(src.Attestations) > 0
		o.ociSet = &oci
	}
	if o.artifactSet == nil {
		artifact := now && *o.ociSet
		o.artifactSet = &artifact
	}
	return nil
}

// exporterOCI is the exporter whose archives were OCI's at all times.
const exporterOCI = "oci"

// validate refuses attributes that contradict each other. It is called as soon
// as they are known, so that nobody waits for a build that cannot end well.
func (o *Options) validate() error {
	if o.ociSet == nil || *o.ociSet {
		return nil
	}
	// Annotations, which such layers are found by, have no place elsewhere.
	if o.Layers.Compression == ref.Estargz {
		return conflict("exporter option \"compression=%s\" conflicts with \"oci-mediatypes=false\"", ref.Estargz)
	}
	if o.artifactSet != nil && *o.artifactSet {
		return conflict("exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"")
	}
	return nil
}

func conflict(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// checkCompression refuses compressions and levels that nobody can write.
func (o *Options) checkCompression() error {
	highest := map[string]int{ref.Uncompressed: 9, ref.Gzip: 9, ref.Estargz: 9, ref.Zstd: 22}
	limit, ok := highest[o.Layers.Compression]
	switch {
	case !ok:
		return fmt.Errorf("unsupported compression type %s: %w", o.Layers.Compression, errdefs.ErrInvalidArgument)
	case o.Layers.Level == nil:
	case *o.Layers.Level < 0 || *o.Layers.Level > limit:
		return fmt.Errorf("compression-level %d is out of range 0-%d for %s: %w",
			*o.Layers.Level, limit, o.Layers.Compression, errdefs.ErrInvalidArgument)
	case o.Layers.Compression == ref.Uncompressed:
		// A level of nothing must not make another variant of the blob.
		o.Layers.Level = nil
	}
	return nil
}
