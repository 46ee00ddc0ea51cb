package lint

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// Config says which rules apply.
type Config struct {
	// Skip are names of rules not to apply.
	Skip []string
	// SkipAll applies no rule but wanted experimental ones.
	SkipAll bool
	// Experimental are names of experimental rules to apply.
	Experimental []string
	// ExperimentalAll applies all experimental rules.
	ExperimentalAll bool
	// Error makes the build fail if there was a warning.
	Error bool
}

// ParseConfig reads `skip=A,B;experimental=all;error=true`. An empty text is
// the default configuration.
func ParseConfig(text string) (Config, error) {
	var config Config
	if text = strings.TrimSpace(text); text == "" {
		return config, nil
	}
	for _, part := range strings.SplitN(text, ";", 3) {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return config, fmt.Errorf("invalid check option %q", part)
		}
		value = strings.TrimSpace(value)
		switch key = strings.TrimSpace(key); key {
		case "skip":
			config.Skip, config.SkipAll = rules(value)
		case "experimental":
			config.Experimental, config.ExperimentalAll = rules(value)
		case "error":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return config, fmt.Errorf("failed to parse check option %q: %w", part, err)
			}
			config.Error = on
		default:
			return config, fmt.Errorf("invalid check option %q", key)
		}
	}
	return config, nil
}

// rules reads a list of rule names; "all" stands for every one.
func rules(value string) (names []string, all bool) {
	if value == "all" {
		return nil, true
	}
	for name := range strings.SplitSeq(value, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	return names, false
}

// FileConfig reads the check directive of a file.
func FileConfig(data []byte) (Config, error) {
	directive, _ := syntax.FindDirective(syntax.DirectiveCheck, data)
	config, err := ParseConfig(directive.Value)
	if err != nil {
		return config, fmt.Errorf("failed to parse check options: %w", err)
	}
	return config, nil
}

// commentConfig finds a check directive among the comments above an
// instruction.
func commentConfig(comments []string) (Config, bool) {
	for _, comment := range comments {
		directive, ok := syntax.CommentDirective(comment)
		if !ok || directive.Name != syntax.DirectiveCheck {
			continue
		}
		value, _, _ := strings.Cut(directive.Value, " ")
		config, err := ParseConfig(value)
		return config, err == nil
	}
	return Config{}, false
}
