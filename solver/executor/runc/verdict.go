package runc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	gorunc "github.com/containerd/go-runc"

	"github.com/kilnbuild/kiln/solver"
	"github.com/kilnbuild/kiln/solver/executor"
)

// verdict turns what the runtime said into the process's error.
func (e *Executor) verdict(ctx context.Context, b *bundle, p *executor.Process, status int, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *gorunc.ExitError
	if errors.As(err, &exit) {
		status, err = exit.Status, nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.runtime.Command, errors.Join(err, b.lastLog()))
	}
	if success(p, status) {
		return nil
	}
	if msg := b.lastLog(); msg != nil {
		// The runtime failed before the process started, or with it.
		return &solver.ExitError{Code: status, Err: b.foreign.explain(fmt.Errorf("exit code: %d: %w", status, msg))}
	}
	// A program that the kernel refuses is not told apart from one that fails.
	return &solver.ExitError{Code: status, Err: b.foreign.explain(fmt.Errorf("exit code: %d", status))}
}

func success(p *executor.Process, status int) bool {
	if len(p.ValidExitCodes) > 0 {
		return slices.Contains(p.ValidExitCodes, status)
	}
	return status == 0
}

// lastLog returns the runtime's last error message, if it wrote one.
func (b *bundle) lastLog() error {
	f, err := os.Open(b.log())
	if err != nil {
		return nil
	}
	defer f.Close()
	var last string
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		var line struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
		}
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Level == "error" && line.Msg != "" {
			last = line.Msg
		}
	}
	if last == "" {
		return nil
	}
	return errors.New(last)
}
