package invalid_test

import (
	"errors"
	"fmt"
	"testing"

	"millrace/internal/invalid"
)

func TestNoFaultIsNoError(t *testing.T) {
	var f invalid.Faults
	if err := f.Err(); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestFaultsAreSortedOneALine(t *testing.T) {
	var f invalid.Faults
	f.Add("b.yaml", 2, "window", "is not a size", "write hour, day, week or month")
	f.Add("a.yaml", 10, "name", "is empty", "")
	f.Add("a.yaml", 9, "query", "is absent", "write the SQL")
	f.Add("a.yaml", 9, "query", "is absent", "write the SQL") // found twice, said once
	f.Add("a.yaml", 9, "owner", "is absent", "name a team")
	f.Add("a.yaml", 0, "", "is empty", "")
	err := fmt.Errorf("check: %w", f.Err())
	var got invalid.Faults
	if !errors.As(err, &got) {
		t.Fatalf("%T holds no Faults", err)
	}
	const want = `a.yaml: is empty
a.yaml:9: owner: is absent; name a team
a.yaml:9: query: is absent; write the SQL
a.yaml:10: name: is empty
b.yaml:2: window: is not a size; write hour, day, week or month`
	if got.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if f[0].File != "b.yaml" {
		t.Error("Err reordered what is still being collected")
	}
}
