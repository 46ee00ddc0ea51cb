package diagnose

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// hidden stands for a value that is not told.
const hidden = "(redacted)"

var (
	// secretName matches names whose values are secrets.
	secretName = regexp.MustCompile(`(?i)(secret|token|passw|passphrase|credential|authorization|api_?key|access_?key|private_?key|cookie|signature|_auth$|^auth$)`)
	// secretWord matches such a name with its value within a text, as in arguments and mount options.
	secretWord = regexp.MustCompile(`(?i)([\w-]*(?:secret|token|passw|passphrase|credential|api_?key|access_?key)[\w-]*\s*[=:]\s*)("[^"]*"|[^\s,;&"]+)`)
	// userPart matches who logs in, in a URL.
	userPart = regexp.MustCompile(`://[^/@\s"]+@`)
	// bearer matches the value of an HTTP header.
	bearer = regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w+/=.~-]{8,}`)
)

// redactText leaves out what looks like a secret. A path stays: it names a secret and is none.
func redactText(s string) string {
	s = userPart.ReplaceAllString(s, "://"+hidden+"@")
	s = bearer.ReplaceAllString(s, "$1 "+hidden)
	return secretWord.ReplaceAllStringFunc(s, func(all string) string {
		m := secretWord.FindStringSubmatch(all)
		if strings.HasPrefix(strings.Trim(m[2], `"`), "/") {
			return all
		}
		return m[1] + hidden
	})
}

// redact returns v as JSON without secrets.
func redact(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	var plain any
	if err := json.Unmarshal(data, &plain); err != nil {
		return nil, fmt.Errorf("encode settings: %w", err)
	}
	return json.MarshalIndent(redactValue("", plain), "", "  ")
}

// redactValue goes through JSON values; name is the one that v has.
func redactValue(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, below := range v {
			v[k] = redactValue(k, below)
		}
	case []any:
		for i, below := range v {
			v[i] = redactValue(name, below)
		}
		// An option and its value may be neighbours in a list of arguments.
		for i := 1; i < len(v); i++ {
			option, ok := v[i-1].(string)
			if ok && strings.HasPrefix(option, "-") && !strings.Contains(option, "=") && secretName.MatchString(option) {
				v[i] = redactValue(option, v[i])
			}
		}
	case string:
		if v != "" && secretName.MatchString(name) && !strings.HasPrefix(v, "/") {
			return hidden
		}
		return redactText(v)
	}
	return v
}

// shownVariables are the beginnings of names of variables that the daemon reads. Others are nobody's business.
var shownVariables = []string{
	"BUILDKIT", "KILN", "OTEL_", "JAEGER_", "XDG_", "ROOTLESSKIT_", "CNI_", "SSL_CERT", "GO", "AWS_", "KUBERNETES_",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"PATH", "HOME", "USER", "TMPDIR", "LANG", "LISTEN_", "NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM", "WATCHDOG_", "SOURCE_DATE_EPOCH",
}

// redactEnv returns the variables that matter, one per line.
func redactEnv(environ []string) string {
	var b strings.Builder
	for _, pair := range environ {
		name, value, ok := strings.Cut(pair, "=")
		shown := false
		for _, prefix := range shownVariables {
			shown = shown || strings.HasPrefix(name, prefix)
		}
		if !ok || !shown {
			continue
		}
		text, _ := redactValue(name, value).(string)
		fmt.Fprintf(&b, "%s=%q\n", name, text)
	}
	return b.String()
}
