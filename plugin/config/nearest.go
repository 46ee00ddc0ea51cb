package config

import (
	"reflect"
	"strings"
	"sync"
)

// wildcard stands in a known key for a name that the user chooses, such as a registry host.
const wildcard = "*"

// knownKeys are the paths of all keys, derived from Config so that they cannot disagree with it.
var knownKeys = sync.OnceValue(func() [][]string {
	var keys [][]string
	collectKeys(reflect.TypeFor[Config](), nil, &keys)
	return keys
})

func collectKeys(t reflect.Type, prefix []string, keys *[][]string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Map:
		collectKeys(t.Elem(), append(prefix[:len(prefix):len(prefix)], wildcard), keys)
		return
	case t.Kind() != reflect.Struct, t == reflect.TypeFor[Duration](), t == reflect.TypeFor[DiskSpace]():
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		path := prefix
		if !f.Anonymous {
			path = append(prefix[:len(prefix):len(prefix)], f.Tag.Get("toml"))
			*keys = append(*keys, path)
		}
		collectKeys(f.Type, path, keys)
	}
}

// nearest returns the known key that is most like the given one: a key with the same last name in another table, or
// one that differs by a few letters. It returns "" when nothing is alike.
func nearest(key []string) string {
	last := strings.ToLower(key[len(key)-1])
	if len(last) > maxCompared {
		return ""
	}
	best, bestScore := "", 2*(1+len(last)/3)+1 // at most every third letter may be wrong
	for _, known := range knownKeys() {
		score := 2 * distance(last, strings.ToLower(known[len(known)-1]))
		if !samePlace(key, known) {
			score++ // among equals, the table the user was in wins
		}
		if score < bestScore {
			best, bestScore = strings.Join(known, "."), score
		}
	}
	return best
}

// maxCompared bounds the work for a name that cannot be meant.
const maxCompared = 64

// samePlace reports whether both keys are in the same table.
func samePlace(key, known []string) bool {
	if len(key) != len(known) {
		return false
	}
	for i := range len(key) - 1 {
		if known[i] != wildcard && !strings.EqualFold(key[i], known[i]) {
			return false
		}
	}
	return true
}

// distance is the number of letters to insert, remove or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
