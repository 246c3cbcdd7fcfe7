package bigqueryfake

import (
	"context"
	"fmt"
)

// alterTable runs ALTER TABLE with one action or several.
func (s *session) alterTable(ctx context.Context, list []node) error {
	exists := skipWords(&list, "IF", "EXISTS")
	path, n := tablePath(list)
	t, err := s.lookup(path)
	if err != nil {
		if exists && apiErrorOf(err).reason == "notFound" {
			return nil
		}
		return err
	}
	if err := s.mayChange(t); err != nil {
		return err
	}
	done, err := s.own(ctx, t) // not while a transaction changes its rows
	if err != nil {
		return err
	}
	defer done(false)
	if rest := list[n:]; skipWords(&rest, "RENAME", "TO") {
		return s.rename(t, rest)
	}
	for _, action := range split(list[n:]) {
		if err := s.alter(ctx, t, action); err != nil {
			return err
		}
	}
	return nil
}

// rename gives the table another name in its dataset.
func (s *session) rename(t *table, to []node) error {
	if len(to) != 1 || to[0].text == "" {
		return refused("a table's new name is one name, of its own dataset")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tables := s.datasets[t.dataset].tables
	if tables[to[0].text] != nil {
		return duplicate("Table %s.%s", t.dataset, to[0].text)
	}
	delete(tables, t.id)
	t.id = to[0].text
	tables[t.id] = t
	t.touch(s.now())
	return nil
}

func (s *session) alter(ctx context.Context, t *table, action []node) error {
	switch {
	case skipWords(&action, "ADD", "COLUMN"):
		missing := skipWords(&action, "IF", "NOT", "EXISTS")
		c, err := columnDef(action)
		if err != nil {
			return err
		}
		if i, _ := s.findColumn(t, c.name); i >= 0 {
			if missing {
				return nil
			}
			return duplicate("Column %s in table %s.%s", c.name, t.dataset, t.id)
		}
		return s.addColumn(ctx, t, c)
	case skipWords(&action, "DROP", "COLUMN"):
		return s.dropColumn(ctx, t, action)
	case skipWords(&action, "ALTER", "COLUMN"):
		return s.alterColumn(ctx, t, action)
	case skipWords(&action, "SET") && words(action, "OPTIONS"):
		options, _, err := optionList(action)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		t.touch(s.now())
		return tableOptions(t, options)
	}
	return refused("this change of a table is not in its set")
}

func (s *session) dropColumn(ctx context.Context, t *table, action []node) error {
	exists := skipWords(&action, "IF", "EXISTS")
	i, c := s.findColumn(t, action[0].text)
	if i < 0 {
		if exists {
			return nil
		}
		return notFound("Column %s in table %s.%s", action[0].text, t.dataset, t.id)
	}
	if err := s.change(ctx, fmt.Sprintf("ALTER TABLE %s DROP COLUMN %s", t.physical, quoteName(c.name))); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.columns = append(t.columns[:i:i], t.columns[i+1:]...)
	t.visible = append(t.visible[:i:i], t.visible[i+1:]...)
	t.touch(s.now())
	return nil
}

func (s *session) alterColumn(ctx context.Context, t *table, action []node) error {
	exists := skipWords(&action, "IF", "EXISTS")
	i, c := s.findColumn(t, action[0].text)
	if i < 0 {
		if exists {
			return nil
		}
		return notFound("Column %s in table %s.%s", action[0].text, t.dataset, t.id)
	}
	was, rest := c, action[1:]
	switch {
	case skipWords(&rest, "SET", "DATA", "TYPE"):
		to, _, err := parseType(rest)
		if err != nil {
			return err
		}
		if !widens(c.typ, to) {
			return invalidQuery("ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type (%s) is assignable to the new type (%s)", c.typ, to)
		}
		c.typ = to
		if was.typ.duck() != to.duck() {
			if err := s.change(ctx, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s", t.physical, quoteName(c.name), to.duck())); err != nil {
				return err
			}
		}
	case skipWords(&rest, "DROP", "NOT", "NULL"):
		c.required = false
		if err := s.change(ctx, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL", t.physical, quoteName(c.name))); err != nil {
			return err
		}
	case skipWords(&rest, "SET") && words(rest, "OPTIONS"):
		options, _, err := optionList(rest)
		if err != nil {
			return err
		}
		c.description = text(options["description"])
	default:
		return refused("this change of a column is not in its set")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.columns[i] = c
	t.touch(s.now())
	return nil
}

// widens reports whether a column of one type can become one of the other.
func widens(from, to columnType) bool {
	if from == to {
		return true
	}
	rank := map[string]int{"INT64": 1, "NUMERIC": 2, "BIGNUMERIC": 3, "FLOAT64": 4}
	a, b := rank[from.name], rank[to.name]
	if a == 0 || b < a {
		return false
	}
	if from.decimal() && to.decimal() {
		fp, fs, _ := from.bounds()
		tp, ts, _ := to.bounds()
		return ts >= fs && tp-ts >= fp-fs
	}
	if to.decimal() { // from INT64
		tp, ts, _ := to.bounds()
		return tp-ts >= 19
	}
	return true
}
