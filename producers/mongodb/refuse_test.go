package mongodb

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"millrace/internal/testkit/mongofake"
	"millrace/producers"
	"millrace/schemas"
)

func raw(t *testing.T, d bson.D) []byte {
	t.Helper()
	b, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What a server is, and what must be changed of it.
func TestServersThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name         string
		hello, built bson.D
		want         []string
	}{
		{"replica set", bson.D{{Key: "setName", Value: "rs0"}}, bson.D{{Key: "version", Value: "5.0.0"}}, nil},
		{"old", bson.D{{Key: "setName", Value: "rs0"}}, bson.D{{Key: "version", Value: "4.4.29"}}, []string{"MongoDB 4.4.29", "5.0 or newer"}},
		{"alone", bson.D{}, bson.D{{Key: "version", Value: "7.0.1"}}, []string{"stands alone", "rs.initiate()"}},
		{"sharded", bson.D{{Key: "msg", Value: "isdbgrid"}}, bson.D{{Key: "version", Value: "8.0.1"}}, []string{"sharded cluster", "replica sets"}},
		{"old and alone", bson.D{}, bson.D{{Key: "version", Value: "4.0.0"}}, []string{"MongoDB 4.0.0", "stands alone", "upgrade", "--replSet"}},
	} {
		_, faults, err := judge(raw(t, c.hello), raw(t, c.built))
		if err != nil {
			t.Fatal(err)
		}
		if (len(faults) == 0) != (len(c.want) == 0) {
			t.Errorf("%s: %v", c.name, faults)
			continue
		}
		for _, text := range c.want {
			if got := joinHalts(faults).Error(); !strings.Contains(got, text) {
				t.Errorf("%s: %q lacks %q", c.name, got, text)
			}
		}
	}
}

// A wrong password ends at once and says so; none of the DSN is repeated.
func TestLoginIsRefused(t *testing.T) {
	f := startFake(t, mongofake.Options{User: "me", Password: "right"})
	c := newCapture(t, f.URI(), false, Table{Name: "t"}).open()
	c.sync()
	_ = c.src.Close()
	wrong := &Config{DSN: strings.Replace(f.URI(), "right", "hunter2", 1), Tables: c.cfg.Tables}
	_, err := wrong.Open(t.Context(), c.start, c.env())
	var h *producers.HaltError
	if !errors.As(err, &h) || !strings.Contains(h.Hint, "user and password") || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("got %v", err)
	}
	survey, err := wrong.Survey(t.Context(), c.env())
	if err != nil || len(survey.Faults) != 1 || !strings.Contains(survey.Faults[0].Hint, "user and password") {
		t.Fatalf("got %+v, %v", survey, err)
	}
}

// A server that is not there may come back: that is no reason to halt.
func TestServerIsAway(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"})
	_ = f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cfg := &Config{DSN: c.cfg.DSN + "&serverSelectionTimeoutMS=300", Tables: c.cfg.Tables}
	defer cancel()
	_, err := cfg.Open(ctx, c.start, c.env())
	if err == nil || errors.As(err, new(*producers.HaltError)) {
		t.Fatalf("got %v", err)
	}
	f.start(t)
}

// The survey reports a collection that is not there, and asks for the one that
// was meant.
func TestSurveyOfACollectionThatIsNotThere(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "orders"})
	c.create("customers")
	c.cfg.Tables = append(c.cfg.Tables, Table{Name: c.db.name + ".custmers", Promote: true})
	survey, err := c.cfg.Survey(t.Context(), c.env())
	c.must(err)
	if len(survey.Faults) != 1 || !strings.Contains(survey.Faults[0].Hint, "did you mean "+c.db.name+".customers?") || len(survey.Tables) != 2 {
		t.Fatalf("%d tables, %v", len(survey.Tables), survey.Faults)
	}
	if !strings.Contains(survey.Faults[0].Hint, "createCollection") {
		t.Error(survey.Faults[0].Hint)
	}
}

// A collection that is not there is captured as an empty one: what comes under
// its name comes once, whether it is made, written to, or another takes the name.
func TestCollectionComesLater(t *testing.T) {
	for _, scope := range []string{"collection", "database"} {
		for name, made := range map[string]func(*capture){
			"made":    func(c *capture) { c.create("t"); c.insert("t", doc("a")) },
			"written": func(c *capture) { c.insert("t", doc("a")) },
			"renamed": func(c *capture) {
				c.create("other")
				c.insert("other", doc("a"))
				c.rename("other", "t")
			},
		} {
			t.Run(scope+" "+name, func(t *testing.T) {
				c := newCapture(t, startFake(t, mongofake.Options{}).URI(), true)
				fence := c.cfg.Tables
				c.cfg.Tables = []Table{{Name: c.db.name + ".t", Promote: true}}
				if scope == "database" {
					c.cfg.Tables = append(c.cfg.Tables, fence...)
				}
				c.open()
				c.await(func() bool { return len(c.versions) == len(c.cfg.Tables) && c.token != "" })
				rows, chunk, err := c.chunk(c.version("t"), nil, 10)
				if len(c.halts) != 0 || len(rows) != 0 || !chunk.End || err != nil {
					t.Fatalf("%d rows, %+v, %v, %v", len(rows), chunk, err, c.halts)
				}
				c.reopen(c.checkpoint())
				made(c)
				c.insert("t", doc("b"))
				c.await(func() bool {
					got := c.of("t")
					return len(got) > 0 && shown(got[len(got)-1]) == `c _id=b doc={"_id":"b"}`
				})
				got := map[string]int{}
				for _, ch := range c.of("t") {
					if ch.Op != schemas.Truncate {
						got[string(ch.After[0].Bytes)]++
					}
				}
				if name == "renamed" { // no event carries its rows: the table is read again
					rows, _, err := c.chunk(c.version("t"), nil, 10)
					c.must(err)
					v := c.versions[len(c.versions)-1]
					if len(rows) != 2 || v.Since.IsZero() {
						t.Fatalf("%d rows, read again from %v", len(rows), v.Since)
					}
					got["a"]++
				}
				if len(got) != 2 || got["a"] != 1 || got["b"] != 1 {
					t.Fatalf("%v", got)
				}
			})
		}
	}
}

// A collection that may not be read halts alone, and says what to grant, though
// the server names it as little as one that is not there.
func TestCollectionMayNotBeRead(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"})
	c.cfg.Tables = append(c.cfg.Tables, Table{Name: c.db.name + ".secret"})
	f.On("find", 2, mongofake.Refuse(codeUnauthorized, "Unauthorized", "not authorized")) // the first settles
	c.open()
	c.sync()
	if len(c.halts) != 1 || c.halts[0].Table != c.db.name+".secret" || !strings.Contains(c.halts[0].Hint, "grantRolesToUser") {
		t.Fatalf("%v", c.halts)
	}
}

// A member that is behind the token is asked again until it has caught up: it
// lags, and nothing is lost.
func TestLaggingMember(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), false, Table{Name: "t"}).open()
	c.insert("t", doc("a"))
	c.sync()
	c.start = c.checkpoint()
	_ = c.src.Close()
	c.insert("t", doc("b"))
	tok, err := parseToken(c.start.Token)
	c.must(err)
	c.cfg.DSN += "&directConnection=true"
	f.Lag(tok.Time - 1)
	for range 2 {
		_, err = c.cfg.Open(t.Context(), c.start, c.env())
		if err == nil || errors.As(err, new(*producers.HaltError)) || !strings.Contains(err.Error(), "caught up") {
			t.Fatalf("got %v", err)
		}
	}
	f.Lag(tok.Time) // a secondary serves as well, once it has what was sent
	c.open()
	f.Lag(0)
	c.sync()
	c.expect("t", `c _id=b doc={"_id":"b"}`)
}

// Another replica set, or one that is behind the token, is not gone on with.
func TestLineage(t *testing.T) {
	c := newCapture(t, startFake(t, mongofake.Options{}).URI(), false, Table{Name: "t"}).open()
	c.sync()
	at := c.checkpoint()
	_ = c.src.Close()
	tok, err := parseToken(at.Token)
	c.must(err)
	for _, change := range []struct {
		what string
		do   func(*token)
	}{
		{"that was replica set other", func(t *token) { t.Set = "other" }},
		{"the log ends at", func(t *token) { t.Time += 1 << 40 }},
	} {
		bad := tok
		change.do(&bad)
		at.Token = bad.encode()
		_, err := c.cfg.Open(t.Context(), at, c.env())
		if !errors.As(err, new(*producers.HaltError)) || !strings.Contains(err.Error(), change.what) {
			t.Errorf("got %v, want %q", err, change.what)
		}
	}
	at.Token = "{"
	if _, err := c.cfg.Open(t.Context(), at, c.env()); err == nil {
		t.Error("a token that is none was taken")
	}
}

func TestValidate(t *testing.T) {
	col := func(name, path string, kind schemas.Kind) Column { return Column{name, path, typeOf(kind)} }
	bad := &Config{DSN: "mongodb://u:hunter2@/%zz", Tables: []Table{
		{Name: "t"},
		{Name: "a.b.c"},
		{Name: "admin.users"},
		{Name: "d.system.x"},
		{Name: "d.t"},
		{Name: "d.t"},
		{Name: "d.u", Columns: []Column{col("doc", "", schemas.JSON), col("_x", "", schemas.Int), col("a", "b..c", schemas.Int), col("A", "", schemas.Int), col("time", "", schemas.Time)}},
	}}
	err := bad.Validate()
	if err == nil {
		t.Fatal("all of it was taken")
	}
	for _, want := range []string{
		"dsn:", `"t" is not database.collection`, `"a.b.c" is not`, `"admin.users" belongs`, `"d.system.x" is not`, `"d.t" is named twice`,
		`"doc" is the column`, `"_x" is no name`, `"a" has a path with an empty part`, `"A" is named twice`, `"time" has the type TIME`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Error("the password is shown")
	}
	if err := (&Config{DSN: "mongodb://h"}).Validate(); err == nil || !strings.Contains(err.Error(), "tables: empty") {
		t.Errorf("got %v", err)
	}
}

// An event that the server cannot send would end every stream again: it halts
// the source, and says what helps (G12).
func TestAnEventTooLargeHalts(t *testing.T) {
	f := startFake(t, mongofake.Options{})
	c := newCapture(t, f.URI(), true, Table{Name: "t"}).open()
	f.On("watch.getMore", 1, mongofake.Refuse(10334, "BSONObjectTooLarge", "BSONObj size: 18653234 (0x11CA032) is invalid"))
	var err error
	for err == nil {
		err = c.next()
	}
	var h *producers.HaltError
	if !errors.As(err, &h) || !strings.Contains(h.Hint, "7.0 or newer") {
		t.Fatalf("got %v", err)
	}
}
