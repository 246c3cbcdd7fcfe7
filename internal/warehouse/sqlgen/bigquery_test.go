package sqlgen

import (
	"strings"
	"testing"

	"millrace/schemas"
)

func TestBigQueryTypes(t *testing.T) {
	d := BigQuery()
	for k := schemas.Bool; k <= schemas.JSON; k++ {
		typ := schemas.Type{Kind: k}
		if k == schemas.Decimal {
			typ = decimal(38, 9)
		}
		if got, ok := d.ParseType(d.Type(typ)); !ok || got != typ {
			t.Errorf("%s is written as %s and read as %s", typ, d.Type(typ), got)
		}
	}
	for typ, want := range map[schemas.Type]string{
		decimal(29, 0): "NUMERIC(29, 0)", decimal(9, 9): "NUMERIC(9, 9)", decimal(30, 0): "BIGNUMERIC(30, 0)", decimal(10, 10): "BIGNUMERIC(10, 10)",
		decimal(76, 38): "BIGNUMERIC(76, 38)", decimal(39, 0): "STRING", decimal(39, 39): "STRING",
	} {
		if got := d.Type(typ); got != want {
			t.Errorf("%s is %s, want %s", typ, got, want)
		}
	}
	for _, name := range []string{"NUMERIC", "BIGNUMERIC", "GEOGRAPHY", "NUMERIC(x)", "NUMERIC(99, 0)", "ARRAY", "NUMERIC(1, )"} {
		if typ, ok := d.ParseType(name); ok {
			t.Errorf("%s is read as %s", name, typ)
		}
	}
	if typ, ok := d.ParseType("NUMERIC(7)"); !ok || typ != decimal(7, 0) {
		t.Errorf("NUMERIC(7) is read as %s", typ)
	}
	// A number that would become text is no widening.
	if to, ok := d.Fit(decimal(38, 9), decimal(50, 2)); ok {
		t.Errorf("DECIMAL(38,9) becomes %s", to)
	}
	if to, ok := d.Fit(decimal(38, 9), decimal(38, 12)); !ok || to != decimal(41, 12) {
		t.Errorf("DECIMAL(38,9) becomes %s", to)
	}
}

func TestBigQueryQuotes(t *testing.T) {
	d := BigQuery()
	for text, want := range map[string]string{
		`it's`: `'it\'s'`, `a\b`: `'a\\b'`, "a\nb\r": `'a\nb\r'`, "\x00\x1f": `'\x00\x1f'`, "né 日本": "'né 日本'", "`": "'`'", `\'); DROP`: `'\\\'); DROP'`,
	} {
		if got := d.Text(text); got != want {
			t.Errorf("%q is written as %s, want %s", text, got, want)
		}
	}
	if got := d.Ident("a`b\\"); got != "`a\\`b\\\\`" {
		t.Errorf("identifier %s", got)
	}
}

// Literals are put in once: what looks like a parameter in one stays.
func TestBind(t *testing.T) {
	if got := Bind("@p1 @p10 @p2 @@row_count @p", "'@p2'", "b", "", "", "", "", "", "", "", "ten"); got != "'@p2' ten b @@row_count @p" {
		t.Error(got)
	}
	if got := Bind("@p3", "a"); got != "@p3" {
		t.Error(got)
	}
}

// Another layout is another staging table; what is staged of it is not a layout.
func TestStagingTables(t *testing.T) {
	base := tables(t, BigQuery())["merge_unset"]
	name := base.Staging()
	if !strings.HasPrefix(name, "core__Odd x-日__stage_") {
		t.Error(name)
	}
	change := func(do func(c *Core)) string {
		c := base.AllStaged()
		do(c)
		return c.Staging()
	}
	if change(func(c *Core) { c.Columns[2].Staged = false }) != name {
		t.Error("a batch without a column has another staging table")
	}
	for what, do := range map[string]func(*Core){
		"type": func(c *Core) { c.Columns[4].Type.Kind = schemas.Timestamp }, "name": func(c *Core) { c.Columns[4].Name = "d" },
		"unset": func(c *Core) { c.Columns[4].Unsettable = true }, "column": func(c *Core) { c.Columns = append(c.Columns, c.Columns[3]) },
	} {
		if change(do) == name {
			t.Errorf("another %s has the same staging table", what)
		}
	}
}
