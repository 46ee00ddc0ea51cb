package command

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/cmd/kiln/internal/layout"
)

// Keys of a response that the client acts upon.
const (
	keyDescriptor = "containerimage.descriptor"
	keyImageName  = "image.name"
	keyCache      = "cache.manifest"
)

// writeMetadata writes the response as JSON. Values that are JSON objects in
// base64 are written as objects.
func writeMetadata(path string, response map[string]string) error {
	out := map[string]any{}
	for k, v := range response {
		out[k] = v
		data, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			continue
		}
		var object map[string]any
		if json.Unmarshal(data, &object) == nil && len(object) > 0 {
			out[k] = json.RawMessage(data)
		}
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return layout.WriteFile(path, data)
}

// updateLayouts enters what was written into directories into their indexes.
func (p *plan) updateLayouts(response map[string]string) error {
	if v := response[keyCache]; v != "" {
		var desc ocispecs.Descriptor
		if err := json.Unmarshal([]byte(v), &desc); err != nil {
			return fmt.Errorf("read %s of the response: %w", keyCache, err)
		}
		for dir, tag := range p.cacheLayouts {
			if err := layout.Tag(dir, desc, tag); err != nil {
				return err
			}
		}
	}
	v := response[keyDescriptor]
	if v == "" || len(p.imageLayouts) == 0 {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return fmt.Errorf("read %s of the response: %w", keyDescriptor, err)
	}
	var desc ocispecs.Descriptor
	if err := json.Unmarshal(data, &desc); err != nil {
		return fmt.Errorf("read %s of the response: %w", keyDescriptor, err)
	}
	for _, dir := range p.imageLayouts {
		if err := nameImage(dir, desc, response); err != nil {
			return err
		}
	}
	return nil
}

// nameImage enters an image under each of its names, or as latest if it has
// none.
func nameImage(dir string, desc ocispecs.Descriptor, response map[string]string) error {
	names, ok := response[keyImageName]
	if !ok {
		return layout.Tag(dir, desc, "latest")
	}
	for _, name := range strings.Split(names, ",") {
		if err := layout.Name(dir, desc, name); err != nil {
			return err
		}
	}
	return nil
}

// printAnswer prints what a frontend says to a question: as text if it has
// one, and else every form it has.
func printAnswer(w io.Writer, answer map[string][]byte) error {
	if txt, ok := answer["result.txt"]; ok {
		_, err := w.Write(txt)
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(answer)) {
		if strings.HasPrefix(k, "result.") {
			if _, err := fmt.Fprintf(w, "%s\n%s\n", k, answer[k]); err != nil {
				return err
			}
		}
	}
	return nil
}
