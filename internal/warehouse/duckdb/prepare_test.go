package duckdb

import (
	"slices"
	"testing"
)

func TestPrepare(t *testing.T) {
	w := open(t, Options{})
	for _, want := range []struct{ made, there []string }{
		{[]string{"core", "core__base", "analytics"}, []string{"millrace"}},
		{nil, []string{"millrace", "core", "core__base", "analytics"}},
	} {
		made, there, err := w.Prepare(t.Context(), []string{"analytics"})
		if err != nil || !slices.Equal(made, want.made) || !slices.Equal(there, want.there) {
			t.Errorf("made %v, there %v, error %v; want %+v", made, there, err, want)
		}
	}
}
