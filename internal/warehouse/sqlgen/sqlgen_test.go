package sqlgen

import (
	"slices"
	"strings"
	"testing"

	"millrace/schemas"
)

func decimal(p, s int) schemas.Type {
	return schemas.Type{Kind: schemas.Decimal, Precision: p, Scale: s}
}

func TestTypesAreReadBack(t *testing.T) {
	d := DuckDB()
	for k := schemas.Bool; k <= schemas.JSON; k++ {
		typ := schemas.Type{Kind: k}
		if k == schemas.Decimal {
			typ = decimal(38, 12)
		}
		if got, ok := d.ParseType(d.Type(typ)); !ok || got != typ {
			t.Errorf("%s is written as %s and read as %s", typ, d.Type(typ), got)
		}
	}
	if held := d.Held(decimal(39, 0)); held.Kind != schemas.String {
		t.Errorf("DECIMAL(39,0) is held as %s", held)
	}
	if typ, ok := d.ParseType("INTEGER[]"); ok {
		t.Errorf("INTEGER[] is read as %s", typ)
	}
}

func TestFit(t *testing.T) {
	integer, text := schemas.Type{Kind: schemas.Int}, schemas.Type{Kind: schemas.String}
	for _, c := range []struct {
		have, want, to schemas.Type
		ok             bool
	}{
		{integer, integer, integer, true},
		{integer, decimal(10, 2), decimal(21, 2), true}, // old integers keep their 19 digits
		{integer, decimal(25, 4), decimal(25, 4), true},
		{decimal(25, 4), integer, decimal(25, 4), true}, // an older version's batch
		{decimal(10, 2), integer, decimal(21, 2), true},
		{decimal(10, 2), decimal(12, 4), decimal(12, 4), true},
		{decimal(10, 2), decimal(10, 4), decimal(12, 4), true},
		{decimal(10, 4), decimal(10, 2), decimal(12, 4), true},
		{decimal(38, 2), decimal(38, 4), schemas.Type{}, false},
		{decimal(38, 2), decimal(50, 2), schemas.Type{}, false}, // text would spell old keys otherwise
		{text, decimal(50, 2), text, true},
		{integer, text, schemas.Type{}, false},
		{text, integer, schemas.Type{}, false},
		{schemas.Type{Kind: schemas.Date}, schemas.Type{Kind: schemas.Timestamp}, schemas.Type{}, false},
		{schemas.Type{Kind: schemas.Float}, integer, schemas.Type{}, false},
	} {
		to, ok := DuckDB().Fit(c.have, c.want)
		if ok != c.ok || ok && to != c.to {
			t.Errorf("%s for %s: %s %v, want %s %v", c.have, c.want, to, ok, c.to, c.ok)
		}
	}
}

func TestParseName(t *testing.T) {
	d := DuckDB()
	if n, err := d.ParseName("core.a.b"); err != nil || n != (Name{Dataset: "core", Table: "a.b"}) {
		t.Errorf("%+v %v", n, err)
	}
	for _, bad := range []string{"", "core", "core.", ".x", "a__b.c", "warehouse.x", "Millrace.x", "main.x", "core.a\x00"} {
		if n, err := d.ParseName(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, n)
		}
	}
}

func TestUnsetNames(t *testing.T) {
	names := []string{"a", "a,b", "100%", "%2C", ","}
	list := ","
	for _, n := range names {
		list += UnsetName(n) + ","
	}
	if got := ParseUnset(list); !slices.Equal(got, names) {
		t.Errorf("%q is read as %q", list, got)
	}
	if got := ParseUnset(""); got != nil {
		t.Errorf("nothing is read as %q", got)
	}
}

func TestReservedNames(t *testing.T) {
	for name, want := range map[string]bool{"_pos": true, "_POS": true, "pos": false, "_load": true, "_image": true, "_x": false} {
		if IsReserved(name) != want {
			t.Errorf("IsReserved(%q) is %v", name, !want)
		}
	}
}

// A column of the table that bears the name of a number of its rows hides it: rows
// are found by their keys then.
func TestColumnsThatHideRowNumbers(t *testing.T) {
	c := tables(t, DuckDB())["merge_plain"]
	if !c.Rewrites() {
		t.Error("rows are not found by their numbers")
	}
	for _, name := range []string{"RowID", "s_row", "T_Row"} {
		c.Columns[1].Name = name
		if c.Rewrites() {
			t.Errorf("rows are found by their numbers beside a column %s", name)
		}
		for _, got := range []string{c.Merge(schemas.Position{}, 1, 0), c.Write(schemas.Position{}), c.CreateEffect()} {
			if strings.Contains(strings.ReplaceAll(got, `"`+name+`"`, ""), "_row") || strings.Contains(got, ".rowid") {
				t.Errorf("the statement uses a row number that is hidden:\n%s", got)
			}
		}
	}
}
