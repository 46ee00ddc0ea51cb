package manifest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/solver/ref"
)

// day returns midnight of a day in January 2024.
func day(n int) *time.Time {
	t := time.Date(2024, 1, n, 0, 0, 0, 0, time.UTC)
	return &t
}

// layer returns a layer made on a day.
func layer(n int) ref.Layer {
	return ref.Layer{DiffID: digest.FromString(string(rune('a' + n))), CreatedAt: day(n), Description: "RUN step"}
}

var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

func TestConfig(t *testing.T) {
	const head = `{"os":"linux","architecture":"amd64"`
	created := func(n int) string { return `"created":"` + day(n).Format(time.RFC3339) + `"` }
	step := func(n int, by string) string { return `{` + created(n) + `,"created_by":"` + by + `"}` }
	empty := func(n int, by string) string {
		return `{` + created(n) + `,"created_by":"` + by + `","empty_layer":true}`
	}
	added := func(n int) string {
		return `{` + created(n) + `,"created_by":"RUN step","comment":"buildkit.exporter.image.v0"}`
	}
	for _, tc := range []struct {
		name   string
		in     configInput
		want   map[string]string
		absent string
	}{{
		name: "unknown fields stay",
		in:   configInput{config: []byte(head + `,"x":{"b": 1,"a":[2]},"config":{"OnBuild":["RUN x"],"Healthcheck":{"Test":["NONE"]}}}`)},
		want: map[string]string{"x": `{"b":1,"a":[2]}`, "config": `{"OnBuild":["RUN x"],"Healthcheck":{"Test":["NONE"]}}`, "history": `[]`, "created": `null`},
	}, {
		name: "missing history is appended",
		in:   configInput{config: []byte(head + `,"history":[{"created_by":"ENV a","empty_layer":true}]}`), layers: []ref.Layer{layer(1), layer(2)}},
		want: map[string]string{
			"history": `[` + empty(1, "ENV a") + `,` + added(1) + `,` + added(2) + `]`,
			"created": `"2024-01-02T00:00:00Z"`,
			"rootfs":  `{"type":"layers","diff_ids":["` + layer(1).DiffID.String() + `","` + layer(2).DiffID.String() + `"]}`,
		},
	}, {
		name: "surplus history becomes empty",
		in:   configInput{config: []byte(head + `,"history":[` + step(1, "a") + `,` + step(2, "b") + `]}`), layers: []ref.Layer{layer(1)}},
		want: map[string]string{"history": `[` + step(1, "a") + `,` + empty(2, "b") + `]`},
	}, {
		name: "times come from layers and neighbours",
		in: configInput{
			config: []byte(head + `,"history":[` + step(1, "base") + `,{"created_by":"ENV","empty_layer":true},{"created_by":"RUN"},{"created_by":"CMD","empty_layer":true}]}`),
			layers: []ref.Layer{layer(1), layer(5)},
		},
		want: map[string]string{"history": `[` + step(1, "base") + `,` + empty(5, "ENV") + `,` + step(5, "RUN") + `,` + empty(5, "CMD") + `]`, "created": `"2024-01-05T00:00:00Z"`},
	}, {
		name: "epoch bounds what is new",
		in: configInput{
			config: []byte(head + `,` + created(9) + `,"history":[` + step(4, "base") + `,` + step(6, "RUN") + `]}`),
			base:   []byte(`{"history":[` + step(4, "base") + `]}`),
			layers: []ref.Layer{layer(4), layer(6)}, epoch: day(3),
		},
		want: map[string]string{"history": `[` + step(4, "base") + `,` + step(3, "RUN") + `]`, "created": `"2024-01-03T00:00:00Z"`},
	}, {
		name: "epoch does not make things younger",
		in:   configInput{config: []byte(head + `,` + created(1) + `,"history":[` + step(1, "RUN") + `]}`), layers: []ref.Layer{layer(1)}, epoch: day(3)},
		want: map[string]string{"history": `[` + step(1, "RUN") + `]`, "created": `"2024-01-01T00:00:00Z"`},
	}, {
		name: "no config",
		in:   configInput{platform: amd64},
		want: map[string]string{"os": `"linux"`, "config": `{"Env":["` + defaultPath + `"],"WorkingDir":"/"}`, "rootfs": `{"type":"layers","diff_ids":[]}`},
	}} {
		t.Run(tc.name, func(t *testing.T) {
			data, err := imageConfig(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]json.RawMessage
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
			for k, want := range tc.want {
				if string(got[k]) != want {
					t.Errorf("%s:\n got %s\nwant %s", k, got[k], want)
				}
			}
		})
	}
}

func TestConfigRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`{"architecture":"amd64"}`: "invalid image config for export: missing os",
		`{"os":"linux"}`:           "invalid image config for export: missing architecture",
		`null`:                     "invalid null image config for export",
		`[]`:                       "invalid image config for export: ",
		`{"os":1}`:                 "invalid image config for export: ",
	} {
		_, err := imageConfig(configInput{config: []byte(config)})
		if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// FuzzConfig: whatever a frontend returns, the outcome is an error or a
// configuration that says what the image has.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","architecture":"amd64","history":[{"created":"2024-01-01T00:00:00Z"},{"empty_layer":true}]}`), []byte(`{"history":[{}]}`), 2)
	f.Add([]byte(`{"os":"linux","architecture":"arm64","created":"2030-01-01T00:00:00Z"}`), []byte(nil), 0)
	f.Add([]byte(`null`), []byte(`null`), 1)
	f.Fuzz(func(t *testing.T, config, base []byte, n int) {
		n = min(max(n, 0), 10)
		var layers []ref.Layer
		for i := range n {
			layers = append(layers, layer(i+1))
		}
		data, err := imageConfig(configInput{config: config, base: base, layers: layers, epoch: day(3), platform: amd64})
		if err != nil {
			return
		}
		var image ocispecs.Image
		if err := json.Unmarshal(data, &image); err != nil {
			t.Fatal(err)
		}
		full := 0
		for _, h := range image.History {
			if !h.EmptyLayer {
				full++
			}
		}
		if len(image.RootFS.DiffIDs) != n || full != n {
			t.Fatalf("%d layers, but %d diff ids and %d steps", n, len(image.RootFS.DiffIDs), full)
		}
	})
}
