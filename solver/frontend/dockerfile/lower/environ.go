package lower

import (
	"maps"
	"slices"
)

// environ is an ordered set of variables; setting one again moves it to the
// end. It implements shell.Env.
type environ struct {
	values map[string]string
	order  []string
	size   int // bytes of names and values
}

func newEnviron() *environ { return &environ{values: map[string]string{}} }

// Get implements shell.Env.
func (e *environ) Get(name string) (string, bool) {
	value, ok := e.values[name]
	return value, ok
}

// Names implements shell.Env.
func (e *environ) Names() []string { return e.order }

// set adds a variable at the end. One that is set again moves there: the order
// of variables is part of a step's identity, and of its digest.
func (e *environ) set(name, value string) {
	if old, ok := e.values[name]; ok {
		e.size -= len(name) + len(old)
		i := slices.Index(e.order, name)
		e.order = slices.Delete(e.order, i, i+1)
	}
	e.size += len(name) + len(value)
	e.order = append(e.order, name)
	e.values[name] = value
}

// remove forgets a variable.
func (e *environ) remove(name string) {
	if old, ok := e.values[name]; ok {
		e.size -= len(name) + len(old)
		delete(e.values, name)
		i := slices.Index(e.order, name)
		e.order = slices.Delete(e.order, i, i+1)
	}
}

func (e *environ) clone() *environ {
	return &environ{values: maps.Clone(e.values), order: slices.Clone(e.order), size: e.size}
}

// strings lists the variables as NAME=value.
func (e *environ) strings() []string {
	out := make([]string, len(e.order))
	for i, name := range e.order {
		out[i] = name + "=" + e.values[name]
	}
	return out
}
