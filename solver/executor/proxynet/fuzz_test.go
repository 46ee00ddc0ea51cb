package proxynet

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/solver/executor"
)

// FuzzPlain checks that what is recorded and judged is settled and names no
// secrets, whatever processes ask for.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{
		"http://example.com/a b?q#f", "https://u:p@EXAMPLE.com:443//x/../y", "http://[::1%25eth0]:80/", "http://:80", "https://@h:443:443/",
		"http://u:p@h/%zz", "http://h/\x00", "//h/x", "http:opaque",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		once := plain(u)
		if v, err := url.Parse(once); err == nil && u.Opaque == "" && u.Host != "" {
			if twice := plain(v); twice != once {
				t.Errorf("%q: %q, then %q", s, once, twice)
			}
			if password, ok := v.User.Password(); ok && password != hidden {
				t.Errorf("%q: password in %q", s, once)
			}
		}
	})
}

// FuzzRequest has any bytes sent as a request: nothing may be asked of a
// server that was not admitted, and nothing but what was admitted.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
		"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST https://a:443/x HTTP/1.1\r\nHost: b\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
		"GET http://denied/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-Host: a\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(data))))
		if err != nil || req.Method == http.MethodConnect {
			return
		}
		var admitted string
		s := &session{gate: gateFunc(func(_, address string) (string, error) {
			if strings.Contains(address, "denied") {
				return "", io.EOF
			}
			admitted = address
			return address, nil
		})}
		// Without HTTP/2, which would register itself.
		transport := &http.Transport{TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
		transport.RegisterProtocol("http", roundTrip(t, &admitted))
		transport.RegisterProtocol("https", roundTrip(t, &admitted))
		s.transport = transport
		s.forward(httptest.NewRecorder(), req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func roundTrip(t *testing.T, admitted *string) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		if plain(r.URL) != *admitted || r.Host != r.URL.Host || r.Header.Get("Upgrade") != "" {
			t.Errorf("asked %q of %q, admitted %q", r.URL, r.Host, *admitted)
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
	}
}

var _ executor.Gate = gateFunc(nil)
