package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds a configuration file; real ones have a few kilobytes.
const maxFile = 4 << 20

// Warning is a key that means nothing.
type Warning struct {
	Key     string // with dots
	Line    int    // from 1
	Nearest string // the key that was probably meant, or ""
}

// String says it in one line.
func (w Warning) String() string {
	s := fmt.Sprintf("line %d: unknown key %q", w.Line, w.Key)
	if w.Nearest != "" {
		s += fmt.Sprintf("; did you mean %q?", w.Nearest)
	}
	return s
}

// Load reads the file at path. A file that does not exist is an empty one. The error matches errdefs.ErrInvalidArgument
// and names the line if the file cannot be understood.
func Load(path string) (*Config, []Warning, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Config{}, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open configuration: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(b) > maxFile {
		return nil, nil, fmt.Errorf("configuration %s is larger than %d bytes: %w", path, maxFile, errdefs.ErrInvalidArgument)
	}
	cfg, warnings, err := Parse(b)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return cfg, warnings, nil
}

// Parse reads the text of a configuration file. See Load.
func Parse(b []byte) (*Config, []Warning, error) {
	cfg := &Config{}
	dec := toml.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	err := dec.Decode(cfg)
	var warnings []Warning
	if unknown := (*toml.StrictMissingError)(nil); errors.As(err, &unknown) {
		warnings = warn(unknown)
		// The strict decoder stops counting at the first real error, so the file is read once more without it.
		cfg = &Config{}
		err = toml.Unmarshal(b, cfg)
	}
	if err != nil {
		return nil, nil, invalid(err)
	}
	if err := cfg.validate(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return cfg, warnings, nil
}

// invalid puts the position into the error's text.
func invalid(err error) error {
	if at := (*toml.DecodeError)(nil); errors.As(err, &at) {
		line, column := at.Position()
		err = fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
}

func warn(unknown *toml.StrictMissingError) []Warning {
	warnings := make([]Warning, 0, len(unknown.Errors))
	for _, e := range unknown.Errors {
		line, _ := e.Position()
		warnings = append(warnings, Warning{Key: strings.Join(e.Key(), "."), Line: line, Nearest: nearest(e.Key())})
	}
	return warnings
}

// validate checks what the types alone cannot say.
func (c *Config) validate() error {
	if c.System != nil && c.System.MaxRegistryConcurrency != nil && *c.System.MaxRegistryConcurrency <= 0 {
		return fmt.Errorf("system.maxRegistryConcurrency is %d and must be positive", *c.System.MaxRegistryConcurrency)
	}
	switch c.Log.Format {
	case "", "text", "json":
	default:
		return fmt.Errorf("log.format is %q: unsupported log type, use text or json", c.Log.Format)
	}
	if (c.GRPC.TLS.Cert == "") != (c.GRPC.TLS.Key == "") {
		return errors.New("grpc.tls needs both cert and key")
	}
	return c.Cache.GHA.validate()
}

// validate refuses what kiln does not do: who asks for signatures must not be given caches that nobody looked at.
func (g GHACache) validate() error {
	switch {
	case g.Verify != nil && g.Verify.Required:
		return errors.New("cache.gha.verify.required is set, but signatures of GitHub's cache are not verified by kilnd: " +
			"set it to false if all who can write to that cache are trusted, or use a registry's cache")
	case g.Sign != nil && len(g.Sign.Command) > 0:
		return errors.New("cache.gha.sign.command is set, but kilnd does not sign GitHub's cache: remove it")
	}
	return nil
}
