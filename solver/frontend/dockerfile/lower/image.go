package lower

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// defaultPath is the PATH of images that set none.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// historyComment marks the history entries of Dockerfile instructions.
const historyComment = "buildkit.dockerfile.v0"

// imageConfig is an image configuration with Docker's additions.
type imageConfig = dockerspec.DockerOCIImage

// parseImage reads a stored configuration.
func parseImage(data []byte) (*imageConfig, error) {
	image := &imageConfig{}
	if err := json.Unmarshal(data, image); err != nil {
		return nil, fmt.Errorf("failed to parse image config: %w", err)
	}
	return image, nil
}

// emptyImage is what FROM scratch starts with.
func emptyImage(platform ocispecs.Platform) *imageConfig {
	image := &imageConfig{}
	image.Platform = ocispecs.Platform{
		Architecture: platform.Architecture, OS: platform.OS, OSVersion: platform.OSVersion,
		OSFeatures: slices.Clone(platform.OSFeatures), Variant: platform.Variant,
	}
	image.RootFS.Type = "layers"
	image.Config.WorkingDir = "/"
	if platform.OS != windows {
		image.Config.Env = []string{"PATH=" + defaultPath}
	}
	return image
}

// cloneImage copies all that instructions change.
func cloneImage(image *imageConfig) *imageConfig {
	if image == nil {
		return nil
	}
	out := *image
	out.Config.Env = slices.Clone(image.Config.Env)
	out.Config.Cmd = slices.Clone(image.Config.Cmd)
	out.Config.Entrypoint = slices.Clone(image.Config.Entrypoint)
	out.Config.OnBuild = slices.Clone(image.Config.OnBuild)
	out.Config.ExposedPorts = maps.Clone(image.Config.ExposedPorts)
	out.Config.Volumes = maps.Clone(image.Config.Volumes)
	out.Config.Labels = maps.Clone(image.Config.Labels)
	out.Config.Shell = slices.Clone(image.Config.Shell)
	if check := image.Config.Healthcheck; check != nil {
		copied := *check
		copied.Test = slices.Clone(check.Test)
		out.Config.Healthcheck = &copied
	}
	out.History = slices.Clone(image.History)
	return &out
}

// setImageEnv sets a variable where it stands, or at the end.
func setImageEnv(env []string, name, value string) []string {
	for i, entry := range env {
		if key, _, _ := strings.Cut(entry, "="); key == name {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}

// hasLayers tells whether the image has any files. Very old images do not say
// which layers they have.
func hasLayers(image *imageConfig) bool {
	return len(image.RootFS.DiffIDs) > 0 || slices.ContainsFunc(image.History, func(h ocispecs.History) bool { return !h.EmptyLayer })
}

// history is one line of an image's history. Entries without a layer are
// marked, as the others must match the layers one by one.
func history(text string, layer bool, epoch *time.Time) ocispecs.History {
	return ocispecs.History{CreatedBy: text, Comment: historyComment, EmptyLayer: !layer, Created: epoch}
}

// marshalImage writes a configuration as it is stored.
func marshalImage(image *imageConfig) ([]byte, error) {
	out, err := json.Marshal(image)
	if err != nil {
		return nil, fmt.Errorf("failed to marshal image config: %w", err)
	}
	return out, nil
}
