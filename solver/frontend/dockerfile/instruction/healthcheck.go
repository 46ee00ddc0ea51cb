package instruction

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Healthcheck says how to test a container.
//
//	HEALTHCHECK NONE
//	HEALTHCHECK [flags] CMD <command>
type Healthcheck struct {
	Meta
	// Test is NONE alone, or CMD or CMD-SHELL and the command.
	Test []string
	// Durations are 0 when not given.
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	Retries                                       int
}

var healthFlags = map[string]flagKind{
	"interval": flagText, "timeout": flagText, "start-period": flagText, "start-interval": flagText, "retries": flagText,
}

// parseHealthcheck reads the type first: NONE takes neither flags nor
// arguments, and says nothing about flags it was given.
func parseHealthcheck(raw *syntax.Instruction) (Instruction, error) {
	if len(raw.Args) == 0 {
		return nil, errAtLeastOne("HEALTHCHECK")
	}
	out := &Healthcheck{Meta: meta(raw)}
	kind, command := strings.ToUpper(raw.Args[0]), raw.Args[1:]
	if kind == "NONE" {
		if len(command) != 0 {
			return nil, errors.New("HEALTHCHECK NONE takes no arguments")
		}
		out.Test = []string{kind}
		return out, nil
	}
	given, err := parseFlags(raw, healthFlags)
	if err != nil {
		return nil, err
	}
	if kind != "CMD" {
		return nil, fmt.Errorf("Unknown type %#v in HEALTHCHECK (try CMD)", kind) //nolint:staticcheck // the text clients know
	}
	if len(command) == 0 {
		return nil, errors.New("Missing command after HEALTHCHECK CMD") //nolint:staticcheck // the text clients know
	}
	if !raw.JSON {
		kind = "CMD-SHELL"
	}
	out.Test = append([]string{kind}, command...)
	return out, out.times(given)
}

// times reads the flags with durations and the number of retries.
func (h *Healthcheck) times(given flags) error {
	for _, field := range []struct {
		flag string
		to   *time.Duration
	}{
		{"interval", &h.Interval}, {"timeout", &h.Timeout}, {"start-period", &h.StartPeriod}, {"start-interval", &h.StartInterval},
	} {
		if err := parseInterval(field.flag, given.text(field.flag), field.to); err != nil {
			return err
		}
	}
	text := given.text("retries")
	if text == "" {
		return nil
	}
	retries, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return err
	}
	if retries < 0 {
		return fmt.Errorf("--retries cannot be negative (%d)", retries)
	}
	h.Retries = int(retries)
	return nil
}

// parseInterval refuses durations below a millisecond but for 0, which means
// the default. Engines reject them, and so would the finished image.
func parseInterval(flag, text string, to *time.Duration) (err error) {
	if text == "" {
		return nil
	}
	if *to, err = time.ParseDuration(text); err != nil {
		return err
	}
	if *to != 0 && *to < time.Millisecond {
		return fmt.Errorf("Interval %#v cannot be less than %s", flag, time.Millisecond) //nolint:staticcheck // the text clients know
	}
	return nil
}
