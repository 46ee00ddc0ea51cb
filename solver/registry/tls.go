package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// tlsConfig reads the certificates of a host. Errors name the file.
func tlsConfig(h HostConfig) (*tls.Config, error) {
	cas, pairs := slices.Clone(h.CAs), slices.Clone(h.KeyPairs)
	for _, dir := range h.TLSDirs {
		c, p, err := listTLSDir(dir)
		if err != nil {
			return nil, err
		}
		cas, pairs = append(cas, c...), append(pairs, p...)
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: h.Insecure}
	if len(cas) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
		}
		for _, file := range cas {
			pem, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read certificate authority: %w", err)
			}
			if !pool.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("certificate authority %s holds no PEM certificate: %w", file, errdefs.ErrInvalidArgument)
			}
		}
		tc.RootCAs = pool
	}
	for _, p := range pairs {
		cert, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
		if err != nil {
			return nil, fmt.Errorf("load client certificate %s with key %s: %w", p.Certificate, p.Key, err)
		}
		tc.Certificates = append(tc.Certificates, cert)
	}
	return tc, nil
}

// listTLSDir finds certificates by their names. A directory that is missing or
// closed to us counts as empty: clients mount them conditionally.
func listTLSDir(dir string) (cas []string, pairs []KeyPair, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read certificate directory: %w", err)
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if strings.HasSuffix(file, ".crt") {
			cas = append(cas, file)
		}
		if base, ok := strings.CutSuffix(file, ".cert"); ok {
			pairs = append(pairs, KeyPair{Certificate: file, Key: base + ".key"})
		}
	}
	return cas, pairs, nil
}
