package proxynet

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/solver"
)

// forward is the handler of requests with a whole URL, and of those in
// tunnels.
func (s *session) forward(w http.ResponseWriter, req *http.Request) {
	if !s.begin() {
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
		return
	}
	defer s.active.Done()
	target, err := requested(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	asked := plain(target)
	if s.gate != nil {
		admitted, err := s.admit(req, asked)
		if err != nil {
			s.record.request(solver.Request{Method: req.Method, URL: asked, Status: http.StatusForbidden})
			http.Error(w, "Forbidden", http.StatusForbidden)
			return
		}
		if admitted != nil {
			target = admitted
		}
	}
	// The proxy keeps an eye on HTTP only: no changing to something else.
	req.Header.Del("Upgrade")
	proxy := httputil.ReverseProxy{
		Transport: s.transport, FlushInterval: -1, ErrorLog: s.quiet,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL, r.Out.Host = target, target.Host
			// What is recorded is what is at the address, not a packed form of
			// it that depends on what the client can unpack.
			r.Out.Header.Del("Accept-Encoding")
		},
		ModifyResponse: func(resp *http.Response) error {
			s.watch(req, target, resp)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			address := plain(target)
			s.record.request(solver.Request{Method: req.Method, URL: address, Status: http.StatusBadGateway})
			s.record.incomplete(req.Method, address, solver.ReasonUpstream)
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	proxy.ServeHTTP(w, req)
}

// errNotHTTP refuses what no proxy is for.
var errNotHTTP = errors.New("this proxy serves http and https URLs")

// requested is what a request asks for. In a tunnel that is decided by where
// the tunnel leads.
func requested(req *http.Request) (*url.URL, error) {
	u := *req.URL
	if t, ok := req.Context().Value(tunnelKey{}).(*tunnel); ok {
		u.Scheme, u.Host, u.User = t.scheme, t.host, nil
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errNotHTTP
	}
	return &u, nil
}

// errNotConverted refuses to change what cannot be changed.
var errNotConverted = errors.New("only GET requests can be sent to another http or https URL")

// admit asks the gate; it returns a URL only if the gate names another one.
func (s *session) admit(req *http.Request, asked string) (*url.URL, error) {
	admitted, err := s.gate.Admit(req.Context(), req.Method, asked)
	if err != nil || admitted == asked {
		return nil, err
	}
	u, err := url.Parse(admitted)
	if err != nil || req.Method != http.MethodGet || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errNotConverted
	}
	return u, nil
}

// watch records an answer and has its body recorded as it passes.
func (s *session) watch(req *http.Request, target *url.URL, resp *http.Response) {
	address := plain(target)
	s.record.request(solver.Request{
		Method: req.Method, URL: address, Location: location(target, resp.Header), Status: resp.StatusCode,
	})
	reason := unfit(req, resp)
	resp.Body = &body{ReadCloser: resp.Body, hash: sha256.New(), done: func(unread string, d digest.Digest) {
		switch {
		case reason != "":
			s.record.incomplete(req.Method, address, reason)
		case unread != "":
			s.record.incomplete(req.Method, address, unread)
		case resp.StatusCode >= http.StatusBadRequest:
			s.record.incomplete(req.Method, address, solver.ReasonStatus)
		case resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusMultipleChoices:
			s.record.material(address, d)
		}
	}}
}

// handle serves the proxy's own port.
func (s *session) handle(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodConnect {
		s.forward(w, req)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	if buffered.Reader.Buffered() > 0 {
		// Nobody may send before the tunnel is there.
		_ = conn.Close()
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection Established\r\n\r\n"); err != nil {
		_ = conn.Close()
		return
	}
	// The request is over now, and its context with it.
	s.open(context.WithoutCancel(req.Context()), conn, req.Host)
}
