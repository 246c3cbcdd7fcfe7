package config

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// slotMax is the length of PostgreSQL's names; the slot is <prefix>_<source>.
const slotMax = 63

func (r *reader) sources(v value, prefix, warehouse string) map[string]Source {
	entries := r.entries(v)
	if len(entries) == 0 && isMapping(v) {
		r.fault(v, "is empty", "name at least one source, with its kind, dsn and tables")
	}
	out := map[string]Source{}
	taken := cores{}
	for _, e := range entries {
		r.name(e.value, e.name)
		if n := len(prefix) + 1 + len(e.name); n > slotMax {
			r.fault(e.value, fmt.Sprintf("makes a slot's name of %d characters", n),
				fmt.Sprintf("shorten it or the prefix: together at most %d", slotMax-1))
		}
		out[e.name] = r.source(e, warehouse, taken)
	}
	return out
}

func (r *reader) source(e entry, warehouse string, taken cores) Source {
	v := e.value
	f := r.fields(v, "kind", "dsn", "dsn_file", "tables", "epoch", "server_id")
	s := Source{Tables: map[string]Table{}}
	if kind, ok := f["kind"]; ok {
		s.Kind = r.choice(kind, KindPostgres, KindMariaDB, KindMySQL, KindMongoDB)
	} else if isMapping(v) {
		r.fault(v.child("kind", v.line), "is absent", "write postgres, mariadb, mysql or mongodb")
	}
	s.DSN = r.dsn(v, f, s.Kind, r.opens(e.name))
	if id, ok := f["server_id"]; ok && r.only(id, s.Kind, KindMariaDB, KindMySQL) {
		s.ServerID = r.serverID(id)
	}
	if epoch, ok := f["epoch"]; ok {
		s.Epoch = r.epoch(epoch)
	}
	tables, ok := f["tables"]
	if !ok {
		if isMapping(v) {
			r.fault(v.child("tables", v.line), "is absent", "name at least one table, such as public.orders: {}")
		}
		return s
	}
	entries := r.entries(tables)
	if len(entries) == 0 && isMapping(tables) {
		r.fault(tables, "is empty", "name at least one table, such as public.orders: {}")
	}
	for _, e := range entries {
		s.Tables[e.name] = r.table(e, s.Kind, warehouse, taken)
	}
	return s
}

// dsn is the DSN itself or the content of the file that holds it; nothing for a
// source that is not opened.
func (r *reader) dsn(source value, f map[string]value, kind string, opened bool) string {
	direct, hasDirect := f["dsn"]
	file, hasFile := f["dsn_file"]
	switch {
	case hasDirect && hasFile:
		r.fault(file, "stands beside dsn", "keep one of the two")
		return ""
	case (hasDirect || hasFile) && !opened:
		return ""
	case hasDirect:
		text := r.text(direct)
		dsn := strings.TrimSpace(text) // a Secret made of a file ends in a newline
		if text != "" && dsn == "" {
			r.fault(direct, "is blank", "write "+dsnForms[kind].form)
		}
		r.checkDSN(direct, dsn, kind)
		return dsn
	case hasFile:
		path := r.text(file)
		if path == "" {
			return ""
		}
		b, err := os.ReadFile(r.resolve(path))
		if err != nil {
			r.fault(file, reason(err), "name a file that holds nothing but the DSN")
			return ""
		}
		dsn := strings.TrimSpace(string(b))
		if dsn == "" {
			r.fault(file, "names an empty file", "write the DSN into it")
		}
		r.checkDSN(file, dsn, kind)
		return dsn
	}
	if isMapping(source) {
		r.fault(source.child("dsn", source.line), "is absent", "write dsn: ${VARIABLE}, or dsn_file: with a file that holds it")
	}
	return ""
}

var dsnForms = map[string]struct {
	schemes []string
	form    string
}{
	KindPostgres: {[]string{"postgres", "postgresql"}, "postgres://user:password@host:port/database"},
	KindMariaDB:  {[]string{"mysql"}, "mysql://user:password@host:port/database"},
	KindMySQL:    {[]string{"mysql"}, "mysql://user:password@host:port/database"},
	KindMongoDB:  {[]string{"mongodb", "mongodb+srv"}, "mongodb://user:password@host:port/?replicaSet=name"},
}

// checkDSN tells whether a DSN is of the right kind. It never repeats any of
// it: even the error of url.Parse holds the password.
func (r *reader) checkDSN(v value, dsn, kind string) {
	want, ok := dsnForms[kind]
	if !ok || dsn == "" {
		return
	}
	if kind == KindMongoDB { // it may name several hosts, which no URL does
		dsn = moreHosts.ReplaceAllString(dsn, "$1")
	}
	u, err := url.Parse(dsn)
	switch {
	case err != nil:
		r.fault(v, "is not a URL", "write "+want.form+", with %XX for special characters")
	case !slices.Contains(want.schemes, u.Scheme):
		r.fault(v, "is not a DSN of "+kind, "write "+want.form)
	case u.Host == "" && u.Query().Get("host") == "":
		r.fault(v, "names no host", "write "+want.form)
	case isCutDSN(u):
		r.fault(v, "has an @ behind its host: a /, ? or # ends the password before it", "write special characters of the password as %XX, such as %2F, %3F and %23")
	}
}

// isCutDSN reports whether a special character in the password has ended it. What
// follows would be shown as the name of a database.
func isCutDSN(u *url.URL) bool {
	return strings.Contains(u.Path+u.Fragment, "@") || strings.Contains(u.RawQuery, "@") && u.User == nil && !u.Query().Has("user")
}

// moreHosts are the hosts of a DSN after the first.
var moreHosts = regexp.MustCompile(`^([a-z+]+://[^/,?]*)(?:,[^/?]*)`)

// cores are the core tables so far, by their name in lower case: a warehouse
// may not tell Orders from orders.
type cores map[string]value

var coreName = regexp.MustCompile(`^core\.[A-Za-z_][A-Za-z0-9_]*$`)

// generationName is what the base tables of later generations are called.
var generationName = regexp.MustCompile(`__g[0-9]+$`)

func (r *reader) table(e entry, kind, warehouse string, taken cores) Table {
	v := e.value
	_, name, dotted := strings.Cut(e.name, ".")
	if !dotted || name == "" || strings.HasPrefix(e.name, ".") || strings.Contains(name, ".") {
		r.fault(v, "is not the name of a table", "write schema.table, or database.table for MariaDB and MySQL, database.collection for MongoDB")
		name = ""
	}
	var f map[string]value
	if !isNull(v) {
		f = r.fields(v, "event_time", "history", "as", "key", "text", "append_only", "zero_dates", "ignore_cascades", "mode", "columns", "promote")
	}
	t := Table{Core: "core." + name}
	if ev, ok := f["event_time"]; ok {
		t.EventTime = r.texts(ev)
	}
	if k, ok := f["key"]; ok && r.only(k, kind, KindPostgres, KindMariaDB, KindMySQL) {
		t.Key = r.texts(k)
	}
	if text, ok := f["text"]; ok && r.only(text, kind, KindPostgres) {
		t.Text = r.texts(text)
	}
	if v, ok := f["append_only"]; ok && r.only(v, kind, KindMariaDB, KindMySQL) {
		t.AppendOnly = r.truth(v)
	}
	if v, ok := f["mode"]; ok {
		t.Upsert = r.upserts(v, warehouse, t.AppendOnly)
	}
	if v, ok := f["ignore_cascades"]; ok && r.only(v, kind, KindMariaDB, KindMySQL) {
		t.IgnoreCascades = r.truth(v)
	}
	if v, ok := f["zero_dates"]; ok && r.only(v, kind, KindMariaDB, KindMySQL) {
		t.ZeroDates = r.zeroDates(v)
	}
	if v, ok := f["columns"]; ok && r.only(v, kind, KindMongoDB) {
		t.Columns = r.columns(v)
	}
	if v, ok := f["promote"]; ok && r.only(v, kind, KindMongoDB) {
		t.Promote = r.truth(v)
	}
	if as, ok := f["as"]; ok {
		t.Core = r.text(as)
		r.core(as, t.Core, taken, "write core. and a name of letters, digits and _")
	} else if name != "" {
		r.core(v, t.Core, taken, "rename it with as: core.<name>")
	}
	if h, ok := f["history"]; ok {
		t.History = r.text(h)
		r.core(h, t.History, taken, "write core. and a name of letters, digits and _")
	}
	return t
}

// upserts reads a table's mode, merge or upsert.
func (r *reader) upserts(v value, warehouse string, appendOnly bool) bool {
	switch {
	case r.choice(v, "merge", "upsert") != "upsert":
		return false
	case warehouse == KindDuckDB:
		r.fault(v, "is upsert, and only BigQuery joins changes by key itself", "leave it out: merge gives the same rows; or write warehouse: {kind: bigquery}")
	case appendOnly:
		r.fault(v, "is upsert beside append_only, and rows without a key cannot be found again", "leave mode out, or name a unique key with key: in place of append_only")
	}
	return true
}

// only reports whether the source's kind knows the field; else it is a fault.
func (r *reader) only(v value, kind string, kinds ...string) bool {
	if kind == "" || slices.Contains(kinds, kind) {
		return kind != ""
	}
	r.fault(v, "means nothing for a source of kind "+kind, "leave it out: it is for "+strings.Join(kinds, " and "))
	return false
}

func (r *reader) truth(v value) bool {
	if v.node.Tag == "!!bool" {
		return strings.EqualFold(v.node.Value, "true")
	}
	r.fault(v, "is "+describe(v.node), "write true or false")
	return false
}

func (r *reader) serverID(v value) uint32 {
	return r.number(v, "is no server id", "write a number from 1 to 4294967295 that no server or replica around it has")
}

func (r *reader) epoch(v value) uint32 {
	return r.number(v, "is no epoch", "write a number from 1 to 4294967295; a greater one than before has every table of the source snapshotted again")
}

// number is one of 32 bits, and not zero.
func (r *reader) number(v value, problem, cure string) uint32 {
	n, err := strconv.ParseUint(v.node.Value, 10, 32)
	if v.node.Tag != "!!int" || err != nil || n == 0 {
		r.fault(v, problem, cure)
		return 0
	}
	return uint32(n)
}

// zeroDates is null or halt. Without quotes YAML takes null for nothing.
func (r *reader) zeroDates(v value) string {
	if v.node.Tag == "!!null" && v.node.Value != "" {
		return "null"
	}
	if r.choice(v, "null", "halt") == "null" {
		return "null"
	}
	return ""
}

// core checks the name of a core table, and that no other has it.
func (r *reader) core(v value, name string, taken cores, cure string) {
	if name == "" {
		return
	}
	if !coreName.MatchString(name) {
		r.fault(v, fmt.Sprintf("makes %q, which is no name of a core table", name), cure)
		return
	}
	if generationName.MatchString(name) {
		r.fault(v, fmt.Sprintf("makes %s, which ends like a generation of another table", name),
			"choose a name that does not end in __g and a number, with as:")
		return
	}
	lower := strings.ToLower(name)
	if other, ok := taken[lower]; ok {
		r.fault(v, fmt.Sprintf("makes %s a second time, after line %d", name, other.line), "rename one of them with as: core.<name>")
		return
	}
	taken[lower] = v
}
