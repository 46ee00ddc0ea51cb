package instruction

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/suggest"
	"github.com/kilnbuild/kiln/solver/frontend/dockerfile/syntax"
)

// flagKind says what a flag takes.
type flagKind int

// Kinds of flags.
const (
	flagText flagKind = iota // one value, once
	flagList                 // one value, any number of times
	flagBool                 // true, false or nothing, once
)

// flags are the values given to an instruction, by flag name.
type flags map[string][]string

// parseFlags checks an instruction's flags against the kinds it knows.
func parseFlags(raw *syntax.Instruction, kinds map[string]flagKind) (flags, error) {
	given := flags{}
	for _, flag := range raw.Flags {
		full, value, hasValue := strings.Cut(flag, "=")
		name := strings.TrimPrefix(full, "--")
		kind, ok := kinds[name]
		if !ok {
			return nil, suggest.Error(fmt.Errorf("unknown flag: %s", full), name, slices.Sorted(maps.Keys(kinds)))
		}
		if kind != flagList && len(given[name]) > 0 {
			return nil, fmt.Errorf("duplicate flag specified: %s", full)
		}
		if kind == flagBool {
			var err error
			if value, err = boolValue(full, value, hasValue); err != nil {
				return nil, err
			}
		} else if !hasValue {
			return nil, fmt.Errorf("missing a value on flag: %s", full)
		}
		given[name] = append(given[name], value)
	}
	return given, nil
}

// boolValue accepts true and false in any case. A flag alone means true, one
// with an empty value is a mistake.
func boolValue(flag, value string, hasValue bool) (string, error) {
	switch strings.ToLower(value) {
	case "":
		if hasValue {
			return "", fmt.Errorf("missing a value on flag: %s", flag)
		}
		return "true", nil
	case "true":
		return "true", nil
	case "false":
		return "false", nil
	}
	return "", fmt.Errorf("expecting boolean value for flag %s, not: %s", flag, value)
}

// noFlags refuses all flags.
func noFlags(raw *syntax.Instruction) error {
	_, err := parseFlags(raw, nil)
	return err
}

// text returns a flag's value, "" when it was not given.
func (f flags) text(name string) string {
	if values := f[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// is tells whether a boolean flag is on.
func (f flags) is(name string) bool { return f.text(name) == "true" }

// choice returns a boolean flag, nil when it was not given.
func (f flags) choice(name string) *bool {
	if len(f[name]) == 0 {
		return nil
	}
	on := f.is(name)
	return &on
}
