// Package diff is the LLB diff op: it keeps of its upper input what is not in
// its lower one, deletions included.
package diff
