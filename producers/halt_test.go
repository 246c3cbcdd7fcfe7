package producers

import (
	"errors"
	"testing"
)

// Whoever has cured a halt knows what to do next.
func TestHaltSaysThatARestartTakesItUp(t *testing.T) {
	for hint, want := range map[string]string{
		"add a key": "table public.t halted: no key: add a key; then restart millrace",
		"add a key, then restart millrace: the rest follows": "table public.t halted: no key: add a key, then restart millrace: the rest follows",
	} {
		if got := (&HaltError{Table: "public.t", Err: errors.New("no key"), Hint: hint}).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
