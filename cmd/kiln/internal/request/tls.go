package request

import "fmt"

// TLSContext says how to reach the token service of a registry.
type TLSContext struct {
	// CAs are files with authorities to trust beside the system's.
	CAs []string
	// Pairs are client certificates.
	Pairs []KeyPair
	// Insecure trusts any certificate.
	Insecure bool
}

// KeyPair names two PEM files.
type KeyPair struct{ Cert, Key string }

// TLSContexts reads --registry-auth-tlscontext, by host. Several values for one
// host add up.
func TLSContexts(values []string) (map[string]TLSContext, error) {
	out := map[string]TLSContext{}
	for _, v := range values {
		e, err := parseEntry("registry-auth-tlscontext", "type=tls,"+v)
		if err != nil {
			return nil, err
		}
		a := e.attrs
		insecure := a["insecure"] == "true" || a["insecure"] == "1"
		switch {
		case a["host"] == "":
			return nil, fmt.Errorf("--registry-auth-tlscontext %q requires host=<host>", v)
		case (a["cert"] == "") != (a["key"] == ""):
			return nil, fmt.Errorf("--registry-auth-tlscontext %q requires cert=<cert>,key=<key>", v)
		case a["ca"] == "" && a["cert"] == "" && !insecure:
			return nil, fmt.Errorf("--registry-auth-tlscontext %q requires ca=<ca> or cert=<cert>,key=<key> or insecure=true", v)
		}
		t := out[a["host"]]
		t.Insecure = t.Insecure || insecure
		if a["ca"] != "" {
			t.CAs = append(t.CAs, a["ca"])
		}
		if a["cert"] != "" {
			t.Pairs = append(t.Pairs, KeyPair{Cert: a["cert"], Key: a["key"]})
		}
		out[a["host"]] = t
	}
	return out, nil
}
