package compose

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	pb "github.com/kilnbuild/kiln/solver/pb/llb"
)

// sourceOp is a source whose attributes and capabilities are known.
type sourceOp struct {
	identifier string
	attrs      map[string]string
	caps       []string
}

// set adds an attribute unless its value is empty.
func (s *sourceOp) set(key, value string, caps ...string) {
	if value == "" {
		return
	}
	s.attrs[key] = value
	s.caps = append(s.caps, caps...)
}

// setBool adds an attribute that is there or not.
func (s *sourceOp) setBool(key string, value bool, caps ...string) {
	if value {
		s.set(key, "true", caps...)
	}
}

// setList adds a list as JSON.
func (s *sourceOp) setList(key string, values []string, caps ...string) error {
	if len(values) == 0 {
		return nil
	}
	encoded, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	s.set(key, string(encoded), caps...)
	return nil
}

func newSource(identifier string, caps ...string) *sourceOp {
	return &sourceOp{identifier: identifier, attrs: map[string]string{}, caps: caps}
}

func (s *sourceOp) encode(e *encoding) error {
	e.need(s.caps...)
	attrs := maps.Clone(s.attrs)
	// Directories of two clients have the same name; they must not be taken
	// for the same thing.
	if strings.HasPrefix(s.identifier, "local://") && attrs["local.session"] == "" && attrs["local.unique"] == "" {
		attrs["local.unique"] = e.localUnique()
		e.need("source.local.unique")
	}
	if strings.HasPrefix(s.identifier, "docker-image://") || strings.HasPrefix(s.identifier, "oci-layout://") {
		e.forPlatform()
	}
	e.op.Op = &pb.Op_Source{Source: &pb.SourceOp{Identifier: s.identifier, Attrs: attrs}}
	return nil
}

// Raw is a source by its identifier and attributes, for instance as the
// builder resolved it. The capabilities it needs are for Info.Caps.
func Raw(identifier string, attrs map[string]string, info Info) State {
	source := newSource(identifier)
	maps.Copy(source.attrs, attrs)
	return newState(source, info)
}

// ImageSource is an image in a registry or in the builder's store.
type ImageSource struct {
	// Ref is a reference in the short or the full form.
	Ref string
	// ResolveMode is "default", "pull" (ask the registry) or "local" (ask the
	// store first); empty means default.
	ResolveMode string
	// RecordType tells the cache what the image is for: "internal",
	// "frontend", "regular"; empty means regular.
	RecordType string
	// LayerLimit takes only the first layers; 0 takes all.
	LayerLimit int
	// Checksum is what the digest must be; empty means anything.
	Checksum digest.Digest
}

// Image is the file system of an image.
func Image(image ImageSource, info Info) State {
	named, err := reference.ParseNormalizedNamed(image.Ref)
	if err != nil {
		return Failed(fmt.Errorf("parse image reference %q: %w", image.Ref, err))
	}
	source := newSource("docker-image://"+reference.TagNameOnly(named).String(), "source.image")
	source.set("image.resolvemode", image.ResolveMode)
	if image.ResolveMode == "pull" {
		// The other modes are wishes, this one is a demand.
		source.caps = append(source.caps, "source.image.resolvemode")
	}
	source.set("image.recordtype", image.RecordType)
	source.set("image.layerlimit", positive(image.LayerLimit), "source.image.layerlimit")
	source.set("image.checksum", image.Checksum.String(), "source.image.checksum")
	return newState(source, info)
}

// LayoutSource is an image in an OCI layout that a client holds.
type LayoutSource struct {
	// Ref is name[:tag]@digest.
	Ref string
	// SessionID is the client's session; empty tries those of the build.
	SessionID string
	// StoreID is the client's name of the layout; empty means the name in Ref.
	StoreID string
	// LayerLimit takes only the first layers; 0 takes all.
	LayerLimit int
}

// Layout is the file system of an image in an OCI layout.
func Layout(layout LayoutSource, info Info) State {
	source := newSource("oci-layout://"+layout.Ref, "source.ocilayout")
	source.set("oci.session", layout.SessionID)
	source.set("oci.store", layout.StoreID)
	source.set("oci.layerlimit", positive(layout.LayerLimit))
	return newState(source, info)
}

// LocalSource is a directory of a client.
type LocalSource struct {
	// Name is the client's name of the directory.
	Name string
	// SessionID is the client's session. Empty asks those of the build, and
	// makes the operation distinct in every graph.
	SessionID string
	// Include and Exclude are patterns in the language of .dockerignore;
	// FollowPaths are paths to send with all that their links point to.
	Include, Exclude, FollowPaths []string
	// SharedKeyHint groups directories that are likely to be similar, so that
	// one transfer can build on another.
	SharedKeyHint string
	// Differ is "none" (send all) or "metadata" (send what has changed);
	// empty means metadata.
	Differ string
	// MetadataOnly sends no file contents but for MetadataExcept, patterns.
	MetadataOnly   bool
	MetadataExcept []string
}

// Local is a directory of a client.
func Local(local LocalSource, info Info) State {
	source := newSource("local://"+local.Name, "source.local")
	source.set("local.session", local.SessionID, "source.local.sessionid")
	source.set("local.sharedkeyhint", local.SharedKeyHint, "source.local.sharedkeyhint")
	// A daemon that does not know it compares more than it has to, so no capability is needed.
	source.set("local.differ", local.Differ)
	source.setBool("local.metadatatransfer", local.MetadataOnly, "source.local.metadatatransfer")
	for _, list := range []struct {
		key    string
		values []string
		caps   []string
	}{
		// Singular and plural as clients write them.
		{"local.includepattern", local.Include, []string{"source.local.includepatterns"}},
		{"local.excludepatterns", local.Exclude, []string{"source.local.excludepatterns"}},
		{"local.followpaths", local.FollowPaths, []string{"source.local.followpaths"}},
		{"local.metadatatransferexclude", local.MetadataExcept, nil},
	} {
		if err := source.setList(list.key, list.values, list.caps...); err != nil {
			return Failed(err)
		}
	}
	return newState(source, info)
}

// positive formats a number; 0 and less yield nothing.
func positive(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}
