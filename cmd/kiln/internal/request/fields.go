package request

import (
	"fmt"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

// Env finds an environment variable, like os.LookupEnv.
type Env func(name string) (string, bool)

// entry is a value of the form "type=T,key=value,...".
type entry struct {
	kind  string
	attrs map[string]string
}

// parseEntry reads an entry: keys in lower case, the type apart.
func parseEntry(flag, value string) (entry, error) {
	e := entry{attrs: map[string]string{}}
	fields, err := csvvalue.Fields(value, nil)
	if err != nil {
		return e, fmt.Errorf("--%s %q: %w", flag, value, err)
	}
	for _, f := range fields {
		key, v, ok := strings.Cut(f, "=")
		if !ok {
			return e, fmt.Errorf("--%s %q: invalid value %s (want key=value)", flag, value, f)
		}
		if key = strings.ToLower(key); key == "type" {
			e.kind = v
			continue
		}
		e.attrs[key] = v
	}
	if e.kind == "" {
		return e, fmt.Errorf("--%s %q: --%s requires type=<type>", flag, value, flag)
	}
	return e, nil
}

// Pairs reads values of the form "key=value"; the last of a key counts.
func Pairs(flag string, values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--%s: invalid value %s (want key=value)", flag, v)
		}
		m[key] = value
	}
	return m, nil
}

const buildArg = "build-arg:"

// Opts reads options of a frontend. A build argument without a value takes
// that of the environment, or is left out. SOURCE_DATE_EPOCH of the
// environment is an argument of every build.
func Opts(values []string, env Env) (map[string]string, error) {
	var all []string
	if v, ok := env("SOURCE_DATE_EPOCH"); ok {
		all = append(all, buildArg+"SOURCE_DATE_EPOCH="+v)
	}
	for _, v := range values {
		name, isArg := strings.CutPrefix(v, buildArg)
		if isArg && name != "" && !strings.Contains(name, "=") {
			value, ok := env(name)
			if !ok {
				continue
			}
			v += "=" + value
		}
		all = append(all, v)
	}
	return Pairs("opt", all)
}

// Entitlements checks what a build is allowed beyond the usual.
func Entitlements(values []string) error {
	for _, v := range values {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case v == "network.host", v == "security.insecure", name == "device":
		default:
			return fmt.Errorf("--allow: unknown entitlement %s (want network.host, security.insecure or device[=name])", v)
		}
	}
	return nil
}
