// Package merge is the LLB merge op: it stacks its inputs into one file system
// without moving a byte where the snapshotter can. Later inputs win.
package merge
