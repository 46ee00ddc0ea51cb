package graph

import (
	"testing"
	"testing/synctest"
)

// aheadBench has a step that waits for base and for the content of context.
func aheadBench(t *testing.T, ahead bool) (b *bench, base, context *gate) {
	b = newBench(t)
	b.solver = New(Config{Cache: b.world, Ahead: ahead})
	return b, newGate(), newGate()
}

func TestAheadOverlapsInputs(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b, base, context := aheadBench(t, ahead)
			vs := b.world.parse("base:\ncontext:\ncopy: base context~\nrun: copy")
			vs["base"].Op.(*op).runErr = base.pass
			vs["context"].Op.(*op).runErr = context.pass
			answer := b.start(t.Context(), b.job(), vs["run"])
			synctest.Wait()
			if started := base.entered == 1; started != ahead {
				t.Errorf("ahead %v: base was started while the context arrives: %v", ahead, started)
			}
			close(context.open)
			close(base.open)
			b.want(answer, "run(copy(base(),context()))")
			if base.entered != 1 {
				t.Errorf("base ran %d times", base.entered)
			}
			b.end()
		})
	}
}

func TestAheadLeavesRecordsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, base, context := aheadBench(t, true)
		close(base.open)
		vs := b.world.parse("base:\ncontext:\ncopy: base context~")
		vs["base"].Op.(*op).runErr = base.pass
		b.want(b.start(t.Context(), b.job(), vs["base"]), "base()")
		vs["context"].Op.(*op).runErr = context.pass
		answer := b.start(t.Context(), b.job(), vs["copy"])
		synctest.Wait()
		close(context.open)
		b.want(answer, "copy(base(),context())")
		if base.entered != 1 {
			t.Errorf("base ran %d times although there is a record of it", base.entered)
		}
		b.end()
	})
}

func TestAheadEndsWithTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, base, context := aheadBench(t, true)
		vs := b.world.parse("base:\ncontext:\ncopy: base context~")
		vs["base"].Op.(*op).runErr = base.pass
		vs["context"].Op.(*op).runErr = context.pass
		j := b.job()
		answer := b.start(t.Context(), j, vs["copy"])
		synctest.Wait()
		j.Close(t.Context())
		<-answer
		synctest.Wait()
		if base.canceled != 1 {
			t.Errorf("base was cancelled %d times", base.canceled)
		}
		b.end()
	})
}

// TestAheadOfUnknownKeys has a step that copies from two stages, one after the
// other: how the first copy will be named is known only when its stage has run,
// and the second stage must not wait for that.
func TestAheadOfUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, one, two := aheadBench(t, true)
		vs := b.world.parse("base:\none:\ntwo:\nfirst: base one~\nsecond: first two~")
		vs["one"].Op.(*op).runErr = one.pass
		vs["two"].Op.(*op).runErr = two.pass
		answer := b.start(t.Context(), b.job(), vs["second"])
		synctest.Wait()
		if one.entered != 1 || two.entered != 1 {
			t.Errorf("stages were started %d and %d times", one.entered, two.entered)
		}
		close(one.open)
		close(two.open)
		b.want(answer, "second(first(base(),one()),two())")
		b.end()
	})
}
