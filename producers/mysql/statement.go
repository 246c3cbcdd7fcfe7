package mysql

import "slices"

// effect is what a statement of the log does to a table.
type effect uint8

const (
	effectCreate   effect = iota + 1 // the table is there from now on
	effectEnsure                     // it is there from now on; if it was before, nothing changed
	effectDrop                       // it is gone
	effectTruncate                   // its rows are gone
	effectRewrite                    // its rows may have changed without events
	effectExtend                     // its columns may have changed, its rows not
	effectChange                     // its rows changed, and the log has only the statement
)

// act is an effect on one table, or on every table of a database.
type act struct {
	effect effect
	table  string // database.table; empty: every table of db
	db     string
}

// outcome is what a statement of the log means.
type outcome struct {
	acts     []act
	commit   bool
	rollback bool
	partial  bool // a part of the transaction is rolled back
	opaque   bool // it may have changed any table
	begin    bool // a transaction of more than one statement
	prepares bool // one that XA commits, or not, in another
}

// classify says what a statement of the log means for tables. db is where
// unqualified names live. It does not understand SQL: the binlog's own
// description of a table is the truth about its columns, and what looks unknown
// here counts as a change of what it names.
func classify(query, db string) outcome {
	s := &scanner{words: words(query), db: db}
	if s.take("SET") && s.take("STATEMENT") { // SET STATEMENT a = 1 FOR …
		for !s.done() && !s.take("FOR") {
			s.skip()
		}
	}
	verb := s.skip()
	if verb.kind != plainWord {
		return outcome{}
	}
	switch verb.text {
	case "BEGIN":
		return outcome{begin: true}
	case "XA":
		starts := s.at("START", "BEGIN")
		return outcome{begin: starts, prepares: starts}
	case "COMMIT":
		return outcome{commit: true}
	case "ROLLBACK":
		s.take("WORK")
		return outcome{rollback: !s.at("TO"), partial: s.at("TO")}
	case "CREATE":
		return outcome{acts: s.create()}
	case "ALTER":
		return outcome{acts: s.alter()}
	case "DROP":
		return outcome{acts: s.drop()}
	case "RENAME":
		return outcome{acts: s.rename()}
	case "TRUNCATE":
		s.take("TABLE")
		return outcome{acts: acts(effectTruncate, s.names()...)}
	case "INSERT", "REPLACE":
		s.takeAll("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO")
		return outcome{acts: acts(effectChange, s.name())}
	case "LOAD":
		for !s.done() && !s.take("INTO") {
			s.skip()
		}
		s.take("TABLE")
		return outcome{acts: acts(effectChange, s.name())}
	case "UPDATE", "DELETE", "WITH":
		return outcome{acts: acts(effectChange, s.mentions()...)}
	case "SELECT", "CALL", "EXECUTE", "DO", "HANDLER": // logged if a function in it changes rows
		return outcome{opaque: true}
	}
	return outcome{}
}

func acts(e effect, tables ...string) []act {
	out := make([]act, len(tables))
	for i, t := range tables {
		out[i] = act{effect: e, table: t}
	}
	return out
}

func (s *scanner) create() []act {
	replace := false
	if s.take("OR") {
		replace = s.take("REPLACE")
	}
	if !s.take("TABLE") { // TEMPORARY TABLE, INDEX, VIEW, DATABASE, USER, …
		return nil
	}
	ifNotExists := s.take("IF") && s.take("NOT") && s.take("EXISTS")
	name := s.name()
	switch {
	case replace:
		return []act{{effect: effectDrop, table: name}, {effect: effectCreate, table: name}}
	case ifNotExists:
		return acts(effectEnsure, name)
	}
	return acts(effectCreate, name)
}

func (s *scanner) drop() []act {
	switch {
	case s.take("TABLE", "TABLES"):
		if s.take("IF") {
			s.take("EXISTS")
		}
		return acts(effectDrop, s.names()...)
	case s.take("DATABASE", "SCHEMA"):
		if s.take("IF") {
			s.take("EXISTS")
		}
		return []act{{effect: effectDrop, db: s.ident()}}
	}
	return nil
}

func (s *scanner) rename() []act {
	if !s.take("TABLE", "TABLES") {
		return nil
	}
	if s.take("IF") {
		s.take("EXISTS")
	}
	var out []act
	for {
		from := s.name()
		s.wait()
		if !s.take("TO") {
			return out
		}
		out = append(out, act{effect: effectDrop, table: from}, act{effect: effectCreate, table: s.name()})
		if !s.take(",") {
			return out
		}
	}
}

// wait skips WAIT n and NOWAIT.
func (s *scanner) wait() {
	if s.take("WAIT") {
		s.skip()
	}
	s.take("NOWAIT")
}

func (s *scanner) alter() []act {
	s.take("ONLINE")
	ignore := s.take("IGNORE")
	switch {
	case s.at("DATABASE", "SCHEMA"):
		return nil
	case !s.take("TABLE"):
		return nil
	}
	if s.take("IF") {
		s.take("EXISTS")
	}
	name := s.name()
	s.wait()
	worst := effectExtend
	if ignore { // a unique key drops the rows that repeat it
		worst = effectRewrite
	}
	for !s.done() {
		spec := s.spec()
		if spec.take("RENAME") {
			if spec.at("COLUMN") {
				worst = effectRewrite
			} else if !spec.at("INDEX", "KEY") {
				spec.take("TO", "AS")
				return []act{{effect: effectDrop, table: name}, {effect: effectCreate, table: spec.name()}}
			}
			continue
		}
		if !spec.harmless() {
			worst = effectRewrite
		}
	}
	return acts(worst, name)
}

// spec cuts the next clause of an ALTER off: up to a comma outside of brackets.
func (s *scanner) spec() *scanner {
	depth := 0
	for i, w := range s.words {
		if w.kind != symbol {
			continue
		}
		switch w.text {
		case "(":
			depth++
		case ")":
			depth--
		case ",":
			if depth == 0 {
				out := &scanner{words: s.words[:i], db: s.db}
				s.words = s.words[i+1:]
				return out
			}
		}
	}
	out := &scanner{words: s.words, db: s.db}
	s.words = nil
	return out
}

// harmless reports whether a clause of an ALTER leaves every value of every row
// as it is. Whatever is not known to do so, does not.
func (s *scanner) harmless() bool {
	switch {
	case s.take("ADD"):
		if s.at("INDEX", "KEY", "FULLTEXT", "SPATIAL", "UNIQUE", "FOREIGN") {
			return true
		}
		if s.at("CONSTRAINT") {
			return slices.ContainsFunc(s.words, func(w word) bool { return w.kind == plainWord && (w.text == "FOREIGN" || w.text == "UNIQUE") })
		}
		return s.nullableColumn()
	case s.take("DROP"):
		return s.at("INDEX", "KEY", "FOREIGN")
	}
	return s.at("ALGORITHM", "LOCK", "COMMENT", "AUTO_INCREMENT", "ENABLE", "DISABLE", "NOWAIT", "WAIT")
}

// nullableColumn reports whether ADD is followed by columns that are null in
// every row there is.
func (s *scanner) nullableColumn() bool {
	if s.at("PRIMARY", "PARTITION", "PERIOD", "SYSTEM", "CHECK", "LIKE") {
		return false
	}
	s.take("COLUMN")
	null := false
	for i, w := range s.words {
		if w.kind != plainWord || i == 0 {
			continue
		}
		switch w.text {
		case "NOT":
			if i+1 < len(s.words) && s.words[i+1].text == "EXISTS" {
				continue
			}
			return false
		case "NULL":
			null = true
		case "DEFAULT", "AS", "GENERATED", "AUTO_INCREMENT", "PRIMARY", "UNIQUE", "KEY", "SERIAL", "REFERENCES", "CHECK", "ON", "PERIOD", "VERSIONING":
			return false
		}
	}
	// without explicit_defaults_for_timestamp a timestamp is NOT NULL by itself
	return null || !slices.ContainsFunc(s.words, func(w word) bool { return w.kind == plainWord && w.text == "TIMESTAMP" })
}
