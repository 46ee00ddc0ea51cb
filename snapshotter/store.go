package snapshotter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/kilnbuild/kiln/safebolt"
)

// Buckets, all inside the format's own top bucket.
var (
	bucketFormat    = []byte("kiln.v1")
	bucketSnapshots = []byte("snapshots") // name → record
	bucketStacks    = []byte("stacks")    // number → lower layers; exists for every snapshot
	bucketChildren  = []byte("children")  // number, number of the dependant → nothing
	bucketAliases   = []byte("aliases")   // namespace/name, 0, sequence → name
)

// maxKey bounds names: bolt takes 32 KiB, and an alias repeats the name.
const maxKey = 16 << 10

// store is the metadata database. Compared with containerd's ready-made
// store it writes one value per snapshot instead of a bucket with a dozen
// keys, knows more than one parent, and keeps the flattened stack of every
// snapshot, so that preparing the 450th layer reads one record and not 450.
type store struct {
	db *safebolt.DB
	// eager transactions are durable when they are acknowledged; of relaxed
	// ones nobody wants to know when they are.
	eager, relaxed bool
	// lastID is the highest number this process gave out. A transaction that
	// fails takes its number back in the database; reusing it while the
	// failed call still removes its directory would lose a layer. Written
	// only inside write transactions.
	lastID    uint64
	volatiles *volatiles
}

// openStore opens or creates the database. flush makes layers durable before
// the database says that they are.
func openStore(ctx context.Context, path string, cfg *Config, opts safebolt.Options) (*store, error) {
	// Another daemon on the same root is an error to report, not to wait for; a
	// moment is allowed for the predecessor to die.
	opts.LockTimeout = 2 * time.Second
	db, err := safebolt.Open(ctx, path, opts)
	if err != nil {
		return nil, fmt.Errorf("open snapshot database %s: %w", path, err)
	}
	s := &store{db: db, eager: !cfg.DeferSync && !cfg.NoMetadataSync, relaxed: cfg.NoMetadataSync && !cfg.DeferSync, volatiles: newVolatiles()}
	if err := s.init(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// init creates the buckets of a new database, and only then writes.
func (s *store) init(ctx context.Context) error {
	fresh := false
	err := s.db.View(func(tx *bolt.Tx) error {
		fresh = tx.Bucket(bucketFormat) == nil
		return nil
	})
	if err != nil || !fresh {
		return err
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		top, err := tx.CreateBucketIfNotExists(bucketFormat)
		if err != nil {
			return err
		}
		for _, name := range [][]byte{bucketSnapshots, bucketStacks, bucketChildren, bucketAliases} {
			if _, err := top.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.settled(ctx)
}

func (s *store) close() error { return s.db.Close() }

// view runs fn in a read transaction. fn must not start a write transaction.
func (s *store) view(fn func(*storeTx) error) error {
	return closedError(s.db.View(func(tx *bolt.Tx) error { return fn(s.newTx(tx, false)) }))
}

// update runs fn in the write transaction, of which there is one at a time.
func (s *store) update(ctx context.Context, fn func(*storeTx) error) error {
	err := s.db.Update(func(tx *bolt.Tx) error { return fn(s.newTx(tx, true)) })
	if err == nil && s.eager {
		// Not to be interrupted: the change has been made.
		err = s.db.Sync(context.WithoutCancel(ctx))
	}
	return closedError(err)
}

// settled returns when no power failure brings back what an earlier transaction
// took away.
func (s *store) settled(ctx context.Context) error {
	if s.relaxed {
		return nil
	}
	return closedError(s.db.Sync(ctx))
}

// exclude runs fn while no other write transaction is open, and writes nothing
// to the database. Volatile records are changed in it.
func (s *store) exclude(fn func(*storeTx) error) error {
	return closedError(s.db.Exclude(func(tx *bolt.Tx) error { return fn(s.newTx(tx, false)) }))
}

// change is update for a key in the database, exclude for a volatile one. If
// it changes from one to the other in this instant, fn's writes fail.
func (s *store) change(ctx context.Context, key string, fn func(*storeTx) error) error {
	if _, ok := s.volatiles.get(key); ok {
		return s.exclude(fn)
	}
	return s.update(ctx, fn)
}

// adopt begins the commit of a volatile snapshot by writing to the database
// what it does not know yet. settle must follow.
func (s *store) adopt(tx *storeTx, key string, r *record) error {
	// Its number was given out without the database.
	if tx.snapshots.Sequence() < r.ID {
		if err := tx.snapshots.SetSequence(r.ID); err != nil {
			return fmt.Errorf("record snapshot number: %w", err)
		}
	}
	stack, err := tx.stack(r.ID)
	if err != nil {
		return err
	}
	s.volatiles.setSealing(key, true)
	r.volatile = false
	return tx.putLinks(r, stack)
}

// settle ends the commit of a volatile snapshot according to the outcome of
// its transaction.
func (s *store) settle(key string, err error) {
	if err != nil {
		s.volatiles.setSealing(key, false)
		return
	}
	s.volatiles.remove(key)
}

func closedError(err error) error {
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("snapshotter is closed: %w", errdefs.ErrUnavailable)
	}
	return err
}

// storeTx is one transaction, with the vocabulary of snapshots.
type storeTx struct {
	snapshots, stacks, children, aliases *bolt.Bucket

	volatiles *volatiles
	lasting   bool // what is written will be committed
}

func (s *store) newTx(tx *bolt.Tx, lasting bool) *storeTx {
	top := tx.Bucket(bucketFormat)
	return &storeTx{
		volatiles: s.volatiles,
		lasting:   lasting,
		snapshots: top.Bucket(bucketSnapshots),
		stacks:    top.Bucket(bucketStacks),
		children:  top.Bucket(bucketChildren),
		aliases:   top.Bucket(bucketAliases),
	}
}

func number(ids ...uint64) []byte {
	b := make([]byte, 0, 8*len(ids))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return b
}

// get returns the record of a name; NotFound if there is none.
func (t *storeTx) get(key string) (record, error) {
	b := t.snapshots.Get([]byte(key))
	if p, ok := t.volatiles.get(key); ok && b == nil {
		return p.record, nil
	}
	if b == nil {
		return record{}, fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
	}
	return decodeRecord(key, b)
}

// checkFree reports AlreadyExists for a name in use, InvalidArgument for one
// that can not be stored.
func (t *storeTx) checkFree(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("snapshot name of %d bytes, allowed are 1 to %d: %w", len(key), maxKey, errdefs.ErrInvalidArgument)
	}
	if _, ok := t.volatiles.get(key); ok || t.snapshots.Get([]byte(key)) != nil {
		return fmt.Errorf("snapshot %q: %w", key, errdefs.ErrAlreadyExists)
	}
	return nil
}

// put writes the record under a name, new or known.
func (t *storeTx) put(key string, r *record) error {
	if r.volatile {
		p, _ := t.volatiles.get(key)
		p.record = *r
		t.volatiles.put(key, p)
		return nil
	}
	if !t.lasting {
		return fmt.Errorf("snapshot %q was replaced meanwhile: %w", key, errdefs.ErrUnavailable)
	}
	b, err := r.encode()
	if err != nil {
		return fmt.Errorf("encode record of snapshot %q: %w", key, err)
	}
	if alias := aliasKey(key); alias != nil {
		if err := t.aliases.Put(alias, []byte(key)); err != nil {
			return fmt.Errorf("write alias of snapshot %q: %w", key, err)
		}
	}
	if err := t.snapshots.Put([]byte(key), b); err != nil {
		return fmt.Errorf("write record of snapshot %q: %w", key, err)
	}
	return nil
}

// forget deletes a name; the number, its stack and links stay.
func (t *storeTx) forget(key string) error {
	if alias := aliasKey(key); alias != nil {
		if err := t.aliases.Delete(alias); err != nil {
			return fmt.Errorf("delete alias of snapshot %q: %w", key, err)
		}
	}
	if err := t.snapshots.Delete([]byte(key)); err != nil {
		return fmt.Errorf("delete record of snapshot %q: %w", key, err)
	}
	return nil
}

// stack returns the lower layers of a snapshot, the uppermost first.
func (t *storeTx) stack(id uint64) ([]uint64, error) {
	b := t.stacks.Get(number(id))
	if stack, ok := t.volatiles.stack(id); ok && b == nil {
		return stack, nil
	}
	if b == nil {
		return nil, fmt.Errorf("layer stack of snapshot number %d: %w", id, errdefs.ErrNotFound)
	}
	return decodeStack(b)
}

// exists reports whether a snapshot has the number.
func (t *storeTx) exists(id uint64) bool {
	_, ok := t.volatiles.stack(id)
	return ok || t.stacks.Get(number(id)) != nil
}

// putLinks writes what is below a snapshot, and makes each of its refs
// impossible to remove before it.
func (t *storeTx) putLinks(r *record, lower []uint64) error {
	if err := t.stacks.Put(number(r.ID), encodeStack(lower)); err != nil {
		return fmt.Errorf("write layer stack: %w", err)
	}
	for _, ref := range r.Refs {
		if err := t.children.Put(number(ref, r.ID), nil); err != nil {
			return fmt.Errorf("write link to parent: %w", err)
		}
	}
	return nil
}

// remove deletes a snapshot: name, stack and links to its parents.
func (t *storeTx) remove(key string, r *record) error {
	if r.volatile {
		t.volatiles.remove(key)
		return nil
	}
	if !t.lasting {
		return fmt.Errorf("snapshot %q was replaced meanwhile: %w", key, errdefs.ErrUnavailable)
	}
	for _, ref := range r.Refs {
		if err := t.children.Delete(number(ref, r.ID)); err != nil {
			return fmt.Errorf("delete link to parent: %w", err)
		}
	}
	if err := t.stacks.Delete(number(r.ID)); err != nil {
		return fmt.Errorf("delete layer stack: %w", err)
	}
	return t.forget(key)
}

func (t *storeTx) hasChildren(id uint64) bool {
	k, _ := t.children.Cursor().Seek(number(id))
	return len(k) == 16 && binary.BigEndian.Uint64(k) == id || t.volatiles.refers(id)
}

// nextID gives out a number that no snapshot has or had in this process.
func (s *store) nextID(t *storeTx) (uint64, error) {
	id := max(t.snapshots.Sequence(), s.lastID) + 1
	for t.exists(id) { // never: but the price of being wrong is a layer
		id++
	}
	if err := t.snapshots.SetSequence(id); err != nil {
		return 0, fmt.Errorf("allocate snapshot number: %w", err)
	}
	s.lastID = id
	return id, nil
}

// splitBackendName takes apart the names that containerd's metadata layer
// gives to backends, "namespace/sequence/name".
func splitBackendName(key string) (namespace string, seq uint64, name string, ok bool) {
	namespace, rest, ok1 := strings.Cut(key, "/")
	digits, name, ok2 := strings.Cut(rest, "/")
	if !ok1 || !ok2 || namespace == "" || name == "" {
		return "", 0, "", false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return namespace, seq, name, err == nil
}

// aliasKey orders the bearers of one namespaced name by age. There can be
// several: metadata forgets a name before its garbage collector removes it here.
func aliasKey(key string) []byte {
	namespace, seq, name, ok := splitBackendName(key)
	if !ok {
		return nil
	}
	return append(aliasPrefix(namespace, name), number(seq)...)
}

func aliasPrefix(namespace, name string) []byte {
	return []byte(namespace + "/" + name + "\x00")
}

// newest returns the youngest backend name for a name in a namespace, or "".
func (t *storeTx) newest(namespace, name string) string {
	if namespace == "" || name == "" || len(name) > maxKey {
		return ""
	}
	prefix := aliasPrefix(namespace, name)
	found, age := t.volatiles.newest(namespace, name)
	c := t.aliases.Cursor()
	for k, v := c.Seek(prefix); len(k) == len(prefix)+8 && string(k[:len(prefix)]) == string(prefix); k, v = c.Next() {
		if seq := binary.BigEndian.Uint64(k[len(prefix):]); found == "" || seq > age {
			found, age = string(v), seq
		}
	}
	return found
}
