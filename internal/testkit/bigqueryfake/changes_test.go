package bigqueryfake_test

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/managedwriter"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"millrace/internal/testkit/bigqueryfake"
)

// changes is a bench with a table that takes changes by key.
func changes(t *testing.T) (*bench, *descriptorpb.DescriptorProto, protoreflect.MessageDescriptor) {
	t.Helper()
	b := setup(t, bigqueryfake.Options{})
	b.do("CREATE SCHEMA core", "CREATE TABLE core.c (id INT64, v STRING, PRIMARY KEY (id) NOT ENFORCED)")
	d, m := message(t, "id", kindInt, "v", kindText, "_CHANGE_TYPE", kindText, "_CHANGE_SEQUENCE_NUMBER", kindText)
	return b, d, m
}

func TestChangesByKey(t *testing.T) {
	b, d, m := changes(t)
	s := b.stream("c", d, managedwriter.DefaultStream)
	for _, rows := range [][][]any{
		{{int64(1), "new", "UPSERT", "1/B"}, {int64(2), "x", "UPSERT", "1/1"}, {int64(3), "first", "UPSERT", "0001"}},
		{{int64(1), "old", "UPSERT", "1/A"}, {int64(2), nil, "DELETE", "1/2"}, {int64(3), "last of equals", "UPSERT", "1"}},
		{{int64(2), "late", "UPSERT", "1/1"}, {int64(4), "twice", "UPSERT", "2"}, {int64(4), "in one request", "UPSERT", "1/FFFFFFFFFFFFFFFF"}},
		{{int64(5), nil, "DELETE", "9"}}, // of nothing
		{{int64(5), "before it was deleted", "UPSERT", "8"}},
	} {
		if _, err := b.append(s, rowsOf(t, m, rows...)); err != nil {
			t.Fatal(err)
		}
	}
	b.want("SELECT id, v FROM core.c ORDER BY id", "[1 new]", "[3 last of equals]", "[4 twice]")
}

// A table that takes changes by key takes no statements that change rows.
func TestChangesByKeyAndStatements(t *testing.T) {
	b, d, m := changes(t)
	b.do("INSERT INTO core.c (id, v) VALUES (7, 'x')") // not yet
	if _, err := b.append(b.stream("c", d, managedwriter.DefaultStream), rowsOf(t, m, []any{int64(7), "y", "UPSERT", "1"})); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"UPDATE core.c SET v = 'x' WHERE TRUE", "DELETE FROM core.c WHERE TRUE", "TRUNCATE TABLE core.c",
		"MERGE INTO core.c AS t USING (SELECT 1 AS id) AS s ON t.id = s.id WHEN MATCHED THEN DELETE",
	} {
		b.fails(text, "invalidQuery", "streamed changes")
	}
	b.do("ALTER TABLE core.c ADD COLUMN w STRING")
	b.want("SELECT id, v, w FROM core.c", "[7 y <nil>]")
}

// All of a request is refused, for what one of its rows is, and leaves no trace.
func TestChangesByKeyAreChecked(t *testing.T) {
	b, d, m := changes(t)
	s := b.stream("c", d, managedwriter.DefaultStream)
	good := []any{int64(1), "lost", "UPSERT", "F"}
	for _, bad := range [][]any{
		{int64(1), "x", "MERGE", "2"},
		{int64(1), "x", nil, "2"},
		{int64(1), "x", "UPSERT", nil},
		{int64(1), "x", "UPSERT", ""},
		{int64(1), "x", "UPSERT", "1/2/3/4/5"},
		{int64(1), "x", "UPSERT", "1//2"},
		{int64(1), "x", "UPSERT", "12345678901234567"},
		{int64(1), "x", "UPSERT", "-1"},
		{int64(1), "x", "UPSERT", "0x1"},
	} {
		if _, err := b.append(s, rowsOf(t, m, good, bad)); err == nil {
			t.Errorf("took %v", bad)
		}
	}
	if _, err := b.append(s, rowsOf(t, m, []any{int64(1), "kept", "UPSERT", "1"})); err != nil {
		t.Fatal(err)
	}
	b.want("SELECT id, v FROM core.c", "[1 kept]")
	// Rows without a sequence number, after rows with one.
	without, m2 := message(t, "id", kindInt, "v", kindText, "_CHANGE_TYPE", kindText)
	if _, err := b.append(b.stream("c", without, managedwriter.DefaultStream), rowsOf(t, m2, []any{int64(1), "x", "UPSERT"})); err == nil || !strings.Contains(err.Error(), "cannot be mixed") {
		t.Errorf("mixed: %v", err)
	}
	// Only a default stream takes them, and only of a table with a key.
	if _, err := b.append(b.stream("c", d, managedwriter.CommittedStream), rowsOf(t, m, good), managedwriter.WithOffset(0)); err == nil {
		t.Error("a stream of one's own took them")
	}
	b.do("CREATE TABLE core.n (id INT64, v STRING)")
	if _, err := b.append(b.stream("n", d, managedwriter.DefaultStream), rowsOf(t, m, good)); err == nil || !strings.Contains(err.Error(), "primary key") {
		t.Errorf("a table without a key: %v", err)
	}
	b.want("SELECT id, v FROM core.c", "[1 kept]")
}

// A delete is known for two days. What is older and comes then makes the row again.
func TestDeletesAreForgotten(t *testing.T) {
	b, d, m := changes(t)
	s := b.stream("c", d, managedwriter.DefaultStream)
	put := func(row ...any) {
		t.Helper()
		if _, err := b.append(s, rowsOf(t, m, row)); err != nil {
			t.Fatal(err)
		}
	}
	put(int64(1), nil, "DELETE", "5")
	put(int64(2), "live", "UPSERT", "5")
	b.fake.Skew(47 * time.Hour)
	put(int64(1), "older", "UPSERT", "4")
	b.want("SELECT id, v FROM core.c ORDER BY id", "[2 live]")
	b.fake.Skew(49 * time.Hour)
	put(int64(1), "older", "UPSERT", "4")
	put(int64(2), "older", "UPSERT", "4") // a row that is there is known for as long as it is
	b.want("SELECT id, v FROM core.c ORDER BY id", "[1 older]", "[2 live]")
}
