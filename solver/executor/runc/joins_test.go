package runc

import (
	"testing"
	"time"
)

func TestJoins(t *testing.T) {
	long := time.Hour
	t.Run("nobody", func(t *testing.T) {
		var j joins
		j.stop(long, nil)
		if j.enter() {
			t.Error("entered what is over")
		}
	})
	t.Run("one is waited for", func(t *testing.T) {
		var j joins
		if !j.enter() {
			t.Fatal("not entered")
		}
		stopped := make(chan struct{})
		go func() {
			j.stop(long, nil)
			close(stopped)
		}()
		for j.enter() { // until stop was there
			j.leave()
		}
		select {
		case <-stopped:
			t.Error("did not wait")
		default:
		}
		j.leave()
		<-stopped
	})
	t.Run("not for ever", func(t *testing.T) {
		var j joins
		j.enter()
		j.stop(time.Millisecond, nil)
	})
	t.Run("nor for what has ended", func(t *testing.T) {
		var j joins
		j.enter()
		done := make(chan struct{})
		close(done)
		j.stop(long, done)
	})
}
