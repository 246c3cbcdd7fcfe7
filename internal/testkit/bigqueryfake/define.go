package bigqueryfake

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// define runs CREATE, ALTER and DROP.
func (s *session) define(ctx context.Context, nodes []node) error {
	rest := nodes
	replace := skipWords(&rest, "CREATE", "OR", "REPLACE")
	create := replace || skipWords(&rest, "CREATE")
	temp := create && (skipWords(&rest, "TEMP") || skipWords(&rest, "TEMPORARY"))
	if s.txn != nil && !temp {
		return invalidQuery("DDL statements on permanent entities are not supported in a transaction")
	}
	switch {
	case create && skipWords(&rest, "TABLE"):
		s.stats.kind = "CREATE_TABLE"
		return s.createTable(ctx, rest, replace, temp)
	case create && !temp && skipWords(&rest, "VIEW"):
		s.stats.kind = "CREATE_VIEW"
		return s.createView(ctx, rest, replace)
	case create && !replace && !temp && skipWords(&rest, "SCHEMA"):
		s.stats.kind = "CREATE_SCHEMA"
		return s.createSchema(rest)
	case skipWords(&rest, "ALTER", "TABLE"):
		s.stats.kind = "ALTER_TABLE"
		return s.alterTable(ctx, rest)
	case skipWords(&rest, "DROP", "TABLE"):
		s.stats.kind = "DROP_TABLE"
		return s.drop(ctx, rest, false)
	case skipWords(&rest, "DROP", "VIEW"):
		s.stats.kind = "DROP_VIEW"
		return s.drop(ctx, rest, true)
	}
	return refused("this definition is not in its set")
}

// newPath reads the name of what is to be made.
func (s *session) newPath(list []node) (dataset, id string, rest []node, err error) {
	path, n := tablePath(list)
	if len(path) == 3 && path[0] == s.opts.Project {
		path = path[1:]
	}
	if len(path) == 1 && s.defaults != "" {
		path = []string{s.defaults, path[0]}
	}
	if len(path) != 2 {
		return "", "", nil, invalidQuery("Table %q must be qualified with a dataset (e.g. dataset.table).", strings.Join(path, "."))
	}
	return path[0], path[1], list[n:], nil
}

func (s *session) createTable(ctx context.Context, list []node, replace, temp bool) error {
	missing := skipWords(&list, "IF", "NOT", "EXISTS")
	t := &table{}
	var err error
	if temp {
		path, n := tablePath(list)
		if len(path) != 1 {
			return invalidQuery("A temporary table's name has no dataset")
		}
		t.id, list = path[0], list[n:]
	} else if t.dataset, t.id, list, err = s.newPath(list); err != nil {
		return err
	}
	if len(list) > 0 && list[0].group() {
		if err := columnDefs(t, list[0].list); err != nil {
			return err
		}
		list = list[1:]
	}
	if list, err = tableClauses(t, list); err != nil {
		return err
	}
	var query string
	if skipWords(&list, "AS") {
		if query, err = s.translator().statement(list); err != nil {
			return err
		}
		described, err := s.describe(ctx, query)
		if err != nil {
			return err
		}
		if t.columns == nil {
			t.columns = described
		} else if len(t.columns) != len(described) {
			return invalidQuery("The number of columns in the column definition list does not match the number of columns produced by the query")
		}
	} else if len(list) > 0 {
		return refused("%s in a table's definition is not in its set", list[0].text)
	}
	if len(t.columns) == 0 {
		return invalidQuery("A table has columns")
	}
	if temp {
		return s.createTemp(ctx, t, query, replace, missing)
	}
	return s.createPermanent(ctx, t, query, replace, missing)
}

func (s *session) createTemp(ctx context.Context, t *table, query string, replace, missing bool) error {
	if old := s.temps[t.id]; old != nil && !replace {
		if missing {
			return nil
		}
		return duplicate("Table %s", t.id)
	}
	if err := checkColumns(t.columns); err != nil {
		return err
	}
	t.physical = fmt.Sprintf("temp.bq_temp_%d", len(s.temps)+1)
	if old := s.temps[t.id]; old != nil {
		t.physical = old.physical
	}
	text := strings.Replace(createText(t), "CREATE TABLE temp.", "CREATE OR REPLACE TEMP TABLE ", 1)
	s.ddl.RLock()
	defer s.ddl.RUnlock()
	if _, err := s.conn.ExecContext(ctx, text); err != nil {
		return err
	}
	s.temps[t.id] = t
	if query == "" {
		return nil
	}
	if _, err := s.conn.ExecContext(ctx, "INSERT INTO "+t.physical+" "+query); err != nil {
		return err
	}
	return s.settleArrays(ctx, t.columns, t.physical)
}

// createPermanent makes a table with its rows. It is seen with them or not at all.
func (s *session) createPermanent(ctx context.Context, t *table, query string, replace, missing bool) error {
	s.mu.Lock()
	old, none := s.tableAt(t.dataset, t.id)
	s.mu.Unlock()
	if none == nil && missing {
		return nil
	}
	if none == nil && !old.isView() && (!samePartition(old.partition, t.partition) || !slices.Equal(old.cluster, t.cluster)) {
		return invalidQuery("Cannot replace a table with a different partitioning or clustering spec. Instead, DROP the table, and then recreate it.")
	}
	fill := func(physical string) error {
		if query == "" {
			return nil
		}
		if _, err := s.db.ExecContext(ctx, "INSERT INTO "+physical+" "+query); err != nil {
			return err
		}
		return s.settleArrays(ctx, t.columns, physical)
	}
	if query != "" && len(s.temps) > 0 {
		// Temporary tables are this connection's.
		fill = func(physical string) error {
			if _, err := s.conn.ExecContext(ctx, "INSERT INTO "+physical+" "+query); err != nil {
				return err
			}
			return s.settleArrays(ctx, t.columns, physical)
		}
	}
	err := s.addTable(ctx, t, replace, fill)
	if missing && err != nil && apiErrorOf(err).reason == "duplicate" {
		return nil
	}
	if err == nil && none == nil && old.physical != "" && !old.isView() {
		return s.change(ctx, "DROP TABLE "+old.physical)
	}
	return err
}

func samePartition(a, b *partition) bool {
	return (a == nil) == (b == nil) && (a == nil || strings.EqualFold(a.column, b.column) && a.unit == b.unit)
}

// columnDefs reads what stands between the parentheses of CREATE TABLE.
func columnDefs(t *table, list []node) error {
	for _, item := range split(list) {
		if skipWords(&item, "PRIMARY", "KEY") {
			if len(item) != 3 || !item[0].group() || !words(item[1:], "NOT", "ENFORCED") {
				return invalidQuery("Enforced PRIMARY KEY constraints are not supported")
			}
			for _, name := range split(item[0].list) {
				t.key = append(t.key, name[0].text)
			}
			continue
		}
		c, err := columnDef(item)
		if err != nil {
			return err
		}
		t.columns = append(t.columns, c)
	}
	return nil
}

func columnDef(item []node) (c column, err error) {
	if len(item) < 2 || !item[0].named() || item[0].open != 0 {
		return c, invalidQuery("Syntax error in a column's definition")
	}
	c.name = item[0].text
	if c.typ, item, err = parseType(item[1:]); err != nil {
		return c, err
	}
	c.required = skipWords(&item, "NOT", "NULL")
	if words(item, "OPTIONS") {
		options, rest, err := optionList(item)
		if err != nil {
			return c, err
		}
		for name, value := range options {
			if name != "description" {
				return c, refused("option %s of a column is not in its set", name)
			}
			c.description = text(value)
		}
		item = rest
	}
	if len(item) > 0 {
		return c, refused("%s in a column's definition is not in its set", item[0].text)
	}
	return c, nil
}

// optionList reads OPTIONS (name = value, …).
func optionList(list []node) (options map[string][]node, rest []node, err error) {
	if len(list) < 2 || !list[1].group() {
		return nil, nil, invalidQuery("Syntax error in OPTIONS")
	}
	options = map[string][]node{}
	for _, item := range split(list[1].list) {
		if len(item) < 3 || !item[1].word("=") {
			return nil, nil, invalidQuery("Syntax error in OPTIONS")
		}
		options[strings.ToLower(item[0].text)] = item[2:]
	}
	return options, list[2:], nil
}

// text is the value of an option that is a string; NULL is none.
func text(value []node) string {
	if len(value) == 1 && value[0].kind == tokenString {
		return value[0].text
	}
	return ""
}

// tableClauses reads PARTITION BY, CLUSTER BY and OPTIONS.
func tableClauses(t *table, list []node) ([]node, error) {
	if skipWords(&list, "PARTITION", "BY") {
		if len(list) == 0 {
			return nil, invalidQuery("Syntax error in PARTITION BY")
		}
		t.partition = &partition{column: list[0].text, unit: "DAY"}
		if len(list) > 1 && list[1].group() {
			args := split(list[1].list)
			t.partition.column = args[0][0].text
			if len(args) == 2 {
				t.partition.unit = strings.ToUpper(args[1][0].text)
			}
			list = list[1:]
		}
		list = list[1:]
	}
	if skipWords(&list, "CLUSTER", "BY") {
		for len(list) > 0 && list[0].named() && list[0].open == 0 {
			t.cluster, list = append(t.cluster, list[0].text), list[1:]
			if !skipWords(&list, ",") {
				break
			}
		}
	}
	if words(list, "OPTIONS") {
		options, rest, err := optionList(list)
		if err != nil {
			return nil, err
		}
		return rest, tableOptions(t, options)
	}
	return list, nil
}

func tableOptions(t *table, options map[string][]node) error {
	for name, value := range options {
		switch name {
		case "description":
			t.description = text(value)
		case "labels":
			t.labels = map[string]string{}
			for _, pair := range split(value[0].list) {
				if len(pair) == 1 && pair[0].group() && len(pair[0].list) == 3 {
					t.labels[pair[0].list[0].text] = pair[0].list[2].text
				}
			}
		case "partition_expiration_days":
			days, err := strconv.ParseFloat(value[0].text, 64)
			if err != nil || t.partition == nil {
				return invalidQuery("partition_expiration_days needs a number and a partitioned table")
			}
			t.partition.expireMs = int64(days * 24 * 3600 * 1000)
		case "require_partition_filter":
			if t.partition == nil {
				return invalidQuery("require_partition_filter needs a partitioned table")
			}
			t.partition.requireFilter = value[0].word("TRUE")
		case "expiration_timestamp":
			at, err := time.Parse(time.RFC3339, value[len(value)-1].text)
			if err != nil {
				return refused("expiration_timestamp takes TIMESTAMP and an RFC 3339 text here")
			}
			t.expires = at
		case "friendly_name", "max_staleness":
		default:
			return invalidQuery("Unknown option: %s", name)
		}
	}
	return nil
}

func (s *session) createView(ctx context.Context, list []node, replace bool) error {
	missing := skipWords(&list, "IF", "NOT", "EXISTS")
	dataset, id, list, err := s.newPath(list)
	if err != nil {
		return err
	}
	t := &table{dataset: dataset, id: id}
	if words(list, "OPTIONS") {
		options, rest, err := optionList(list)
		if err != nil {
			return err
		}
		if err := tableOptions(t, options); err != nil {
			return err
		}
		list = rest
	}
	if !skipWords(&list, "AS") || len(list) == 0 {
		return refused("this definition of a view is not in its set")
	}
	query, err := s.translator().statement(list)
	if err != nil {
		return err
	}
	if t.columns, err = s.describe(ctx, query); err != nil {
		return err
	}
	t.view, t.viewText = list, s.text
	err = s.addTable(ctx, t, replace, nil)
	if missing && err != nil && apiErrorOf(err).reason == "duplicate" {
		return nil
	}
	return err
}

func (s *session) createSchema(list []node) error {
	missing := skipWords(&list, "IF", "NOT", "EXISTS")
	path, n := tablePath(list)
	if len(path) == 2 && path[0] == s.opts.Project {
		path = path[1:]
	}
	if len(path) != 1 {
		return invalidQuery("Syntax error: a dataset's name is expected")
	}
	d := &dataset{id: path[0]}
	if list = list[n:]; words(list, "OPTIONS") {
		options, _, err := optionList(list)
		if err != nil {
			return err
		}
		d.location, d.description = text(options["location"]), text(options["description"])
		if days := options["default_table_expiration_days"]; len(days) > 0 {
			n, err := strconv.ParseFloat(days[0].text, 64)
			if err != nil {
				return invalidQuery("default_table_expiration_days needs a number")
			}
			d.expireAfter = time.Duration(n * float64(24*time.Hour))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.addDataset(d); err != nil && (!missing || err.reason != "duplicate") {
		return err
	}
	return nil
}

func (s *session) drop(ctx context.Context, list []node, view bool) error {
	exists := skipWords(&list, "IF", "EXISTS")
	path, _ := tablePath(list)
	if t := s.temps[path[0]]; len(path) == 1 && t != nil {
		delete(s.temps, t.id)
		_, err := s.conn.ExecContext(ctx, "DROP TABLE "+t.physical)
		return err
	}
	t, err := s.lookup(path)
	if err != nil {
		if exists && apiErrorOf(err).reason == "notFound" {
			return nil
		}
		return err
	}
	if t.isView() != view {
		return invalidQuery("%s.%s is not of that kind", t.dataset, t.id)
	}
	return s.dropTable(ctx, t)
}
