package route

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

const (
	// maxBody bounds JSON bodies, in bytes.
	maxBody = 4 << 20
	// maxRest is how much of one that is larger is still taken, in bytes: many
	// clients listen only after they have sent everything.
	maxRest = 16 << 20
	// maxFilters bounds the values of all filters of a request.
	maxFilters = 1000
)

// Bool is the value of a parameter: a few words are false, everything else,
// and nothing else, is true.
func Bool(r *http.Request, name string) bool {
	switch strings.ToLower(strings.TrimSpace(r.FormValue(name))) {
	case "", "0", "no", "false", "none":
		return false
	}
	return true
}

// BoolOr is Bool with a default for a parameter that is not there.
func BoolOr(r *http.Request, name string, def bool) bool {
	if _, ok := r.Form[name]; !ok {
		return def
	}
	return Bool(r, name)
}

// Int is the value of a number; zero if it is not there.
func Int(r *http.Request, name string) (int64, error) {
	text := r.FormValue(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("invalid %s %q: want a number: %w", name, text, errdefs.ErrInvalidArgument)
	}
	return n, nil
}

// JSON decodes a parameter that has JSON in it; one that is not there leaves
// to as it is.
func JSON(r *http.Request, name string, to any) error {
	text := r.FormValue(name)
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), to); err != nil {
		return fmt.Errorf("invalid %s: want JSON: %w: %w", name, err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Body decodes the body of a request; an empty one leaves to as it is.
func Body(w http.ResponseWriter, r *http.Request, to any) error {
	body := NewBodyReader(w, r)
	defer body.Done()
	data, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err == nil && len(data) > maxBody {
		_, err = io.CopyN(io.Discard, body, maxRest)
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("it has more than %d bytes", maxBody)
		}
	}
	if err != nil {
		return fmt.Errorf("read request: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if len(data) == 0 {
		return nil
	}
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != "application/json" {
			return fmt.Errorf("unsupported Content-Type header (%s): must be 'application/json': %w", kind, errdefs.ErrInvalidArgument)
		}
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("invalid JSON: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Filters are the values of filters by key.
type Filters map[string][]string

// ParseFilters reads the parameter "filters", in both of its forms. Keys must
// be among those known.
func ParseFilters(r *http.Request, known ...string) (Filters, error) {
	out := Filters{}
	text := r.FormValue("filters")
	if text == "" {
		return out, nil
	}
	var lists map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &lists); err != nil {
		return nil, fmt.Errorf("invalid filter: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	total := 0
	for key, data := range lists {
		values, err := filterValues(data)
		if err != nil {
			return nil, fmt.Errorf("invalid filter '%s': %w: %w", key, err, errdefs.ErrInvalidArgument)
		}
		if total += len(values); total > maxFilters {
			return nil, fmt.Errorf("more than %d filters: %w", maxFilters, errdefs.ErrInvalidArgument)
		}
		out[key] = values
	}
	for key := range out {
		if !contains(known, key) {
			return nil, fmt.Errorf("invalid filter '%s': %w", key, errdefs.ErrInvalidArgument)
		}
	}
	return out, nil
}

func filterValues(data json.RawMessage) ([]string, error) {
	var set map[string]bool
	if json.Unmarshal(data, &set) == nil {
		var out []string
		for v, on := range set {
			if on {
				out = append(out, v)
			}
		}
		return out, nil
	}
	var list []string
	err := json.Unmarshal(data, &list)
	return list, err
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// ErrFilter is the error of a filter whose values cannot be what it says.
func ErrFilter(key string, values []string) error {
	return fmt.Errorf("invalid filter '%s=%v': %w", key, values, errdefs.ErrInvalidArgument)
}

// One returns the boolean value of a filter; def if it is not there.
func (f Filters) One(key string, def bool) (bool, error) {
	values, ok := f[key]
	if !ok {
		return def, nil
	}
	if len(values) != 1 {
		return false, ErrFilter(key, values)
	}
	switch values[0] {
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, ErrFilter(key, values)
}

// Credentials are how a client signs in at a registry.
type Credentials struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	Auth          string `json:"auth,omitempty"`
	ServerAddress string `json:"serveraddress,omitempty"`
	IdentityToken string `json:"identitytoken,omitempty"`
	RegistryToken string `json:"registrytoken,omitempty"`
}

// maxHeader bounds decoded credentials, in bytes.
const maxHeader = 1 << 20

// errNoHeader says that a header has no JSON in it.
var errNoHeader = errors.New("no credentials")

// AuthHeader decodes a header with credentials (X-Registry-Auth,
// X-Registry-Config). One that cannot be decoded counts as none: older clients
// send what nobody asked for.
func AuthHeader(r *http.Request, name string, to any) error {
	text := strings.TrimRight(r.Header.Get(name), "=")
	if text == "" || len(text) > maxHeader {
		return errNoHeader
	}
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		if data, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return errNoHeader
		}
	}
	if json.Unmarshal(data, to) != nil {
		return errNoHeader
	}
	return nil
}
