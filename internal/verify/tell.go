package verify

import (
	"fmt"
	"time"
)

// Tell takes a sentence for the person who waits; nil: nobody does.
type Tell func(sentence string)

// tellEvery is how often a wait is told.
const tellEvery = 3 * time.Second

// waits tells what is waited for, now and then.
type waits struct {
	tell Tell
	next time.Time
}

func newWaits(tell Tell) *waits { return &waits{tell: tell, next: time.Now().Add(tellEvery / 3)} }

// say tells the sentence if it is time for one.
func (w *waits) say(format string, args ...any) {
	now := time.Now()
	if w.tell == nil || now.Before(w.next) {
		return
	}
	w.next = now.Add(tellEvery)
	w.tell(fmt.Sprintf(format, args...))
}
