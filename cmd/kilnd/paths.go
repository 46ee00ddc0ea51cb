package main

import (
	"os"
	"path/filepath"

	"github.com/moby/sys/userns"
)

// Paths are the defaults of a way of running.
type Paths struct {
	Config   string
	Root     string
	State    string
	Address  string
	OTEL     string
	Rootless bool
	// Lenient ignores unknown keys of the configuration with a warning.
	Lenient bool
}

// DefaultPaths returns the defaults under the given program name: buildkitd's own places for buildkitd, so that clients
// and volumes need no change, and the user's directories inside a user namespace of an ordinary user's.
func DefaultPaths(name string) Paths {
	dir, socket, config := "kiln", "kilnd.sock", "kilnd.toml"
	if name == "buildkitd" {
		dir, socket, config = "buildkit", "buildkitd.sock", "buildkitd.toml"
	}
	p := Paths{
		Config: filepath.Join("/etc", dir, config),
		Root:   filepath.Join("/var/lib", dir),
		State:  filepath.Join("/run", dir),
	}
	user := os.Getenv("USER")
	p.Rootless = userns.RunningInUserNS() && user != "" && user != "root"
	if p.Rootless {
		home, _ := os.UserHomeDir()
		p.Config = filepath.Join(envOr("XDG_CONFIG_HOME", filepath.Join(home, ".config")), dir, config)
		p.Root = filepath.Join(envOr("XDG_DATA_HOME", filepath.Join(home, ".local/share")), dir)
		p.State = filepath.Join(envOr("XDG_RUNTIME_DIR", "/run"), dir)
	}
	p.Address = "unix://" + filepath.Join(p.State, socket)
	p.OTEL = filepath.Join(p.State, "otel-grpc.sock")
	// A file that buildkitd took must do as it is.
	p.Lenient = name == "buildkitd"
	return p
}

func envOr(key, fallback string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return fallback
}
