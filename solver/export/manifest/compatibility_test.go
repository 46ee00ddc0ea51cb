package manifest

import (
	"errors"
	"testing"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/export"
)

func TestCompatibility(t *testing.T) {
	said := map[string][]export.Attestation{"p": {{}}}
	for name, tc := range map[string]struct {
		exporter      string
		version       int
		attrs         map[string]string
		said          map[string][]export.Attestation
		oci, artifact bool
	}{
		"now":               {"image", 0, nil, nil, true, true},
		"30":                {"docker", 30, nil, nil, true, true},
		"30 told":           {"image", 30, map[string]string{"oci-artifact": "false"}, said, true, false},
		"30 docker's":       {"image", 30, map[string]string{"oci-mediatypes": "false"}, nil, false, false},
		"20":                {"image", 20, nil, nil, false, false},
		"20 attested":       {"image", 20, nil, said, true, false},
		"20 told":           {"image", 20, map[string]string{"oci-mediatypes": "true"}, nil, true, false},
		"20 artifact":       {"image", 20, map[string]string{"oci-mediatypes": "true", "oci-artifact": "true"}, nil, true, true},
		"10 archive":        {"oci", 10, nil, nil, true, false},
		"10 docker archive": {"docker", 10, nil, nil, false, false},
	} {
		o, _, err := ParseOptions(tc.attrs, false)
		if err != nil {
			t.Fatal(err)
		}
		o.Exporter = tc.exporter
		o, err = o.Finish(&export.Source{Compatibility: tc.version, Attestations: tc.said})
		if err != nil || o.OCI != tc.oci || o.Artifact != tc.artifact {
			t.Errorf("%s: OCI %v, artifact %v, %v", name, o.OCI, o.Artifact, err)
		}
	}
	o, _, err := ParseOptions(map[string]string{"compression": "zstd"}, false)
	if err != nil {
		t.Fatal(err)
	}
	o.Exporter = "image"
	_, err = o.Finish(&export.Source{Compatibility: 10})
	var lacks *solver.CompatibilityError
	if !errors.As(err, &lacks) || err.Error() != "unsupported compatibility-version 10 feature image exporter compression=zstd" {
		t.Errorf("zstd: %v", err)
	}
	if _, err := o.Finish(&export.Source{Compatibility: 20}); err != nil {
		t.Errorf("zstd in 20: %v", err)
	}
}
