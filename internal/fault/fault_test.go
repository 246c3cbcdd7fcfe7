package fault

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestNilHookPasses(t *testing.T) {
	var h Hook
	if err := h.At(t.Context(), "anywhere"); err != nil {
		t.Fatal(err)
	}
}

func TestPlanFiresAtTheNthReachOfAPoint(t *testing.T) {
	var p Plan
	hook := Hook(p.Hook)
	at := func(point string) error { return hook.At(t.Context(), point) }
	if err := at("a"); err != nil {
		t.Fatal(err)
	}
	p.Fail("a", 2) // counted from now
	ran := false
	p.On("b", 1, func(context.Context) error { ran = true; return nil })
	if err := errors.Join(at("a"), at("b")); err != nil || !ran {
		t.Fatalf("err %v, ran %v", err, ran)
	}
	if err := at("a"); !errors.Is(err, ErrInjected) {
		t.Fatalf("got %v, want ErrInjected", err)
	}
	if err := at("a"); err != nil {
		t.Fatalf("a fault fires once: %v", err)
	}
	if want := []string{"b#1", "a#3"}; !slices.Equal(p.Fired(), want) {
		t.Fatalf("fired %v, want %v", p.Fired(), want)
	}
}
