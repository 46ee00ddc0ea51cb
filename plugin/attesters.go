package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/solver/build"
	"github.com/kilnbuild/kiln/solver/provenance"
	"github.com/kilnbuild/kiln/solver/scan"
)

// maxProvenanceFile bounds a file with fields for provenance, in bytes.
const maxProvenanceFile = 1 << 20

// newAttesters returns those who say something about results; what is said of
// the machine, sampler saw.
func newAttesters(opt Options, sampler *provenance.Sampler) ([]build.Attester, error) {
	custom, err := provenanceFields(opt.Config.ProvenanceEnvDir)
	if err != nil {
		return nil, err
	}
	return []build.Attester{
		// Provenance comes last: it tells of everything before it.
		scan.Attester{},
		provenance.New(provenance.Config{Custom: custom, DockerfileVersion: opt.Version.Dockerfile, Sampler: sampler}),
	}, nil
}

// builtinFields are those of provenance that its owner cannot set.
var builtinFields = []string{"buildConfig", "builderPlatform", "platform"}

// provenanceFields merges the JSON objects in the files of a directory, by
// name; a directory that is not there has none.
func provenanceFields(dir string) (map[string]any, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("provenanceEnvDir: %w", err)
	}
	var all map[string]any
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".json" {
			continue
		}
		fields, err := provenanceFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("provenanceEnvDir: %s: %w", e.Name(), err)
		}
		if all == nil {
			all = map[string]any{}
		}
		maps.Copy(all, fields)
	}
	return all, nil
}

func provenanceFile(name string) (map[string]any, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // It was removed just now.
	case err != nil:
		return nil, err
	case info.Size() > maxProvenanceFile:
		return nil, fmt.Errorf("%d bytes, at most %d are read", info.Size(), maxProvenanceFile)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("want one JSON object: %w", err)
	}
	for _, k := range builtinFields {
		if _, ok := fields[k]; ok {
			return nil, fmt.Errorf("key %q is builtin and not allowed to be modified in provenance config", k)
		}
	}
	return fields, nil
}
