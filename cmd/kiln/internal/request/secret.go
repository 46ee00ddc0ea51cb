package request

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

// Secret is where the value of a secret is found: in File or else in Env.
type Secret struct {
	ID, File, Env string
}

// Secrets reads values of --secret. A bare id stands for the environment
// variable of that name if there is one, and else for the file.
func Secrets(values []string, env Env) ([]Secret, error) {
	var out []Secret
	for _, v := range values {
		s, err := parseSecret(v)
		if err != nil {
			return nil, fmt.Errorf("--secret %q: %w", v, err)
		}
		if s.File == "" && s.Env == "" {
			if _, ok := env(s.ID); ok {
				s.Env = s.ID
			} else {
				s.File = s.ID
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// parseSecret reads one value. Unknown keys are refused: a misspelt one would
// lose the secret.
func parseSecret(value string) (Secret, error) {
	var s Secret
	fields, err := csvvalue.Fields(value, nil)
	if err != nil {
		return s, err
	}
	kind := ""
	for _, f := range fields {
		key, v, ok := strings.Cut(f, "=")
		if !ok {
			return s, fmt.Errorf("invalid field '%s' must be a key=value pair", f)
		}
		switch strings.ToLower(key) {
		case "type":
			if kind = v; v != "file" && v != "env" {
				return s, fmt.Errorf("unsupported secret type %q (want file or env)", v)
			}
		case "id":
			s.ID = v
		case "source", "src":
			s.File = v
		case "env":
			s.Env = v
		default:
			return s, fmt.Errorf("unexpected key '%s' in '%s'", key, f)
		}
	}
	if kind == "env" && s.Env == "" {
		s.Env, s.File = s.File, ""
	}
	// A variable that is named goes before a file.
	if s.Env != "" {
		s.File = ""
	}
	if s.ID == "" {
		return s, fmt.Errorf("secret missing ID")
	}
	return s, nil
}

// Agent is an SSH agent, a set of keys, or a raw socket to forward.
type Agent struct {
	ID string
	// Paths of keys, or of one socket; none means the user's agent.
	Paths []string
	// Raw forwards the socket without looking at what passes.
	Raw bool
}

// Agents reads values of --ssh: "default|id[=path[,path...][,raw=true]]".
func Agents(values []string) ([]Agent, error) {
	var out []Agent
	seen := map[string]bool{}
	for _, v := range values {
		id, list, _ := strings.Cut(v, "=")
		a := Agent{ID: id}
		if a.ID == "" {
			a.ID = "default"
		}
		for _, p := range strings.Split(list, ",") {
			if raw, ok := strings.CutPrefix(p, "raw="); ok {
				b, err := strconv.ParseBool(raw)
				if err != nil {
					return nil, fmt.Errorf("--ssh %q: invalid value for 'raw': %s", v, raw)
				}
				a.Raw = b
			} else if p != "" {
				a.Paths = append(a.Paths, p)
			}
		}
		if a.Raw && len(a.Paths) != 1 {
			return nil, fmt.Errorf("--ssh %q: raw mode must supply exactly one socket path for %q", v, a.ID)
		}
		if seen[a.ID] {
			return nil, fmt.Errorf("--ssh: duplicate agent ID %q", a.ID)
		}
		seen[a.ID] = true
		out = append(out, a)
	}
	return out, nil
}
