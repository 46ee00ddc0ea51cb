package ref

import (
	"maps"
	"slices"
)

// KnownLayers returns the layers of the file system as far as there are blobs
// of them, base first: a chain for each form in which layers were packed here.
// What came with an image is as it came in all of them. A chain ends where a
// layer has no blob of the form; it is never empty. Nothing is made or read.
func (r *Ref) KnownLayers() [][]Layer {
	if r == nil {
		return nil
	}
	chain := r.e.chain()
	forms := map[string]bool{}
	for _, e := range chain {
		for form := range e.packed().forms() {
			forms[form] = true
		}
	}
	if len(forms) > 1 {
		delete(forms, originalVariant)
	}
	var out [][]Layer
	for _, form := range slices.Sorted(maps.Keys(forms)) {
		var layers []Layer
		for _, e := range chain {
			blob, ok := e.packed().blob(originalVariant)
			if !ok {
				blob, ok = e.packed().blob(form)
			}
			if !ok {
				break
			}
			layers = append(layers, e.layer(blob))
		}
		if len(layers) > 0 {
			out = append(out, layers)
		}
	}
	return out
}

// forms returns the blobs of the entry by what they are called.
func (e *entry) forms() map[string]blobRecord {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	return e.rec.Blobs // Replaced, never changed.
}
