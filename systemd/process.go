package systemd

import "os"

// Process is the environment of this process.
func Process() Environment {
	return Environment{Get: os.Getenv, Unset: os.Unsetenv, PID: os.Getpid()}
}
