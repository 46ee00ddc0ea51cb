package image

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/dockerapi/imagestore"
	"github.com/kilnbuild/kiln/dockerapi/route"
)

// output sends messages; a client that has gone ends the request by itself.
func output(stream *route.Stream) imagestore.Output {
	return func(m route.Message) { _ = stream.Send(m) }
}

// create answers POST /images/create: a pull or an import.
func (s *Server) create(w http.ResponseWriter, r *http.Request, _ string) error {
	var p *ocispecs.Platform
	if text := r.FormValue("platform"); text != "" && !route.VersionOf(r).Before(32) {
		parsed, err := platforms.Parse(text)
		if err != nil {
			return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		p = &parsed
	}
	if image := r.FormValue("fromImage"); image != "" {
		stream := route.NewStream(w)
		ref, err := pulled(image, r.FormValue("tag"))
		if err != nil {
			return err
		}
		err = s.store.Pull(r.Context(), ref, imagestore.TransferOptions{Platform: p, Credentials: credentials(r), Out: output(stream)})
		return stream.Fail(err, 0)
	}
	return s.importTar(w, r, p)
}

// pulled is what a client wants to pull; tag may be a digest.
func pulled(image, tag string) (reference.Named, error) {
	ref, err := reference.ParseNormalizedNamed(strings.TrimSuffix(image, ":"))
	if err == nil && tag != "" {
		if d, derr := digest.Parse(tag); derr == nil {
			ref, err = reference.WithDigest(reference.TrimNamed(ref), d)
		} else {
			ref, err = reference.WithTag(reference.TrimNamed(ref), tag)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return ref, nil
}

// importTar makes an image of a tar.
func (s *Server) importTar(w http.ResponseWriter, r *http.Request, p *ocispecs.Platform) error {
	stream := route.NewStream(w)
	source := r.FormValue("fromSrc")
	if source == "" {
		return fmt.Errorf("neither fromImage nor fromSrc is given: %w", errdefs.ErrInvalidArgument)
	}
	if p != nil && p.OS != runtime.GOOS {
		return fmt.Errorf("operating system is not supported: %q, images of files are made for %q: %w", p.OS, runtime.GOOS, errdefs.ErrInvalidArgument)
	}
	opt := imagestore.ImportOptions{Platform: p, Message: r.FormValue("message"), Changes: r.Form["changes"]}
	if opt.Message == "" {
		opt.Message = "Imported from " + source
	}
	if repo := r.FormValue("repo"); repo != "" {
		ref, err := repoTag(repo, r.FormValue("tag"))
		if err != nil {
			return err
		}
		opt.Name = ref
	}
	body := route.NewBodyReader(w, r)
	defer body.Done()
	var files io.Reader = body
	if source != "-" {
		remote, from, size, err := s.store.Open(r.Context(), source)
		if err != nil {
			return err
		}
		defer remote.Close()
		if err := stream.Send(route.Message{Status: "Downloading from " + from.Redacted()}); err != nil {
			return err
		}
		files = &importProgress{Reader: remote, out: output(stream), total: max(size, 0)}
	}
	id, err := s.store.Import(r.Context(), files, opt)
	if cause := body.Err(); cause != nil && err != nil {
		err = fmt.Errorf("read archive: %w", cause)
	}
	if err != nil {
		return stream.Fail(err, 0)
	}
	return stream.Send(route.Message{Status: id.String()})
}

// importStep is how many bytes are between two messages about an import.
const importStep = 1 << 20

// importProgress tells how much was read.
type importProgress struct {
	io.Reader
	out               imagestore.Output
	read, told, total int64
}

// Read reads and tells.
func (p *importProgress) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if p.read += int64(n); p.read-p.told >= importStep {
		p.told = p.read
		p.out(route.Message{Status: "Importing", Progress: &route.Progress{Current: p.read, Total: p.total}})
	}
	return n, err
}

// push answers POST /images/{name}/push.
func (s *Server) push(w http.ResponseWriter, r *http.Request, name string) error {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if tag := r.FormValue("tag"); tag != "" {
		if ref, err = repoTag(name, tag); err != nil {
			return err
		}
	}
	p, err := platformSince(r, 46)
	if err != nil {
		return err
	}
	stream := route.NewStream(w)
	opt := imagestore.TransferOptions{Platform: p, Credentials: credentials(r), Out: output(stream)}
	return stream.Fail(s.store.Push(r.Context(), ref, opt), 0)
}

// load answers POST /images/load.
func (s *Server) load(w http.ResponseWriter, r *http.Request, _ string) error {
	p, err := platformsSince(r, 48)
	if err != nil {
		return err
	}
	stream := route.NewStream(w)
	body := route.NewBodyReader(w, r)
	defer body.Done()
	err = s.store.Load(r.Context(), body, p, output(stream))
	if err == nil {
		return nil
	}
	if cause := body.Err(); cause != nil {
		// What the archive looks like to end there says nothing.
		err = fmt.Errorf("load archive: %w", cause)
	}
	// Libraries look for what failed among the messages.
	return stream.Send(route.Message{Error: &route.Failure{Message: route.Text(err)}})
}

// saveOne answers GET /images/{name}/get.
func (s *Server) saveOne(w http.ResponseWriter, r *http.Request, name string) error {
	return s.save(w, r, []string{name})
}

// saveMany answers GET /images/get.
func (s *Server) saveMany(w http.ResponseWriter, r *http.Request, _ string) error {
	names := r.Form["names"]
	switch n := len(names); {
	case n == 0:
		return fmt.Errorf("no images to save: the parameter names is missing: %w", errdefs.ErrInvalidArgument)
	case n > maxNames:
		return fmt.Errorf("more than %d images to save at a time: %w", maxNames, errdefs.ErrInvalidArgument)
	}
	return s.save(w, r, names)
}

func (s *Server) save(w http.ResponseWriter, r *http.Request, names []string) error {
	p, err := platformsSince(r, 48)
	if err != nil {
		return err
	}
	archive, err := s.store.Save(r.Context(), names, p)
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	w.Header().Set("Content-Type", "application/x-tar")
	if n, err := archive.WriteTo(w); err != nil {
		if n > 0 {
			// A message within a tar would not be seen: the client must not take
			// the half for the whole.
			panic(http.ErrAbortHandler)
		}
		return err
	}
	return nil
}
