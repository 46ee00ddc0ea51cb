package export

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestConfigPlatform(t *testing.T) {
	for config, want := range map[string]string{
		"":                                      "",
		`{}`:                                    "",
		`{"os":"linux","architecture":"s390x"}`: "linux/s390x",
		`{"os":"linux"}`:                        "os and architecture must be specified together",
		`{"architecture":"amd64"}`:              "os and architecture must be specified together",
		`[]`:                                    "invalid image config for export",
	} {
		s := &Source{Metadata: map[string][]byte{MetaImageConfig: []byte(config)}}
		p, err := s.configPlatform()
		switch {
		case err != nil:
			if !errdefs.IsInvalidArgument(err) || want == "" || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", config, err)
			}
		case p.ID == "" || want != "" && p.ID != want:
			t.Errorf("%s: %+v", config, p)
		}
	}
}
