// Package config reads the platform's configuration: one YAML file.
//
// What the file leaves out has a default; what it says is read strictly. ${VAR}
// in a value is the environment's, and $$ is a dollar sign. Relative paths start
// at the file's folder. All faults of a file are found at once, as an
// invalid.Faults, and none of them shows a DSN.
//
// Whether a database can be reached, and whether the named tables and columns
// are there, is for the sources to say.
package config

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"millrace/internal/invalid"
	"millrace/schemas"
)

// The kinds of sources and of warehouses.
const (
	KindPostgres = "postgres"
	KindMariaDB  = "mariadb"
	KindMySQL    = "mysql"
	KindMongoDB  = "mongodb"
	KindDuckDB   = "duckdb"
	KindBigQuery = "bigquery"
)

const defaultData = "data"

// Config is the platform's configuration.
type Config struct {
	Prefix    string            // of topics, slots and publications
	Data      string            // the folder for everything that is embedded
	Sources   map[string]Source // by name; at least one
	Groups    []Group           // of consumers, beside the default one; by name
	Derived   string            // the folder of the specs; empty: none
	Kafka     Kafka
	Registry  Registry
	Warehouse Warehouse
	HTTP      string // host:port of status, health and metrics

	file  string
	sum   [sha256.Size]byte // of the file's text
	lines map[string]int    // by path
}

// Stale says what has become of the file since it was read, and what to do;
// empty: nothing.
func (c *Config) Stale() string {
	if c.file == "" {
		return ""
	}
	name := filepath.Base(c.file)
	text, err := os.ReadFile(c.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name + " is gone: the process that runs needs it only when it is started again"
	case err != nil:
		return "it cannot be seen whether " + name + " has changed: " + err.Error()
	case sha256.Sum256(text) != c.sum:
		return name + " has changed: restart millrace to use it"
	}
	return ""
}

// Fault is a fault of what stands at the path, such as sources.orders_db.dsn,
// or, if that is absent, of what is around it.
func (c *Config) Fault(path, problem, cure string) invalid.Fault {
	f := invalid.Fault{File: c.file, Field: path, Problem: problem, Cure: cure}
	for around := path; f.Line == 0 && around != ""; {
		f.Line = c.lines[around]
		around = around[:max(0, strings.LastIndexByte(around, '.'))]
	}
	return f
}

// Source is one captured database.
type Source struct {
	Kind   string
	DSN    string           // a secret
	Tables map[string]Table // by schema.table, or database.table; at least one
	// Epoch is raised by a person for the source to begin again; 0: 1.
	Epoch uint32
	// ServerID is what a MariaDB or MySQL source calls itself as a replica; 0:
	// made of prefix and name.
	ServerID uint32
}

// Table is one captured table.
type Table struct {
	Core      string   // its core table
	History   string   // the append-only core table of its changes; empty: none
	EventTime []string // the columns whose touched ranges are kept; the first partitions the core table
	Key       []string // the columns of a unique key in place of the primary key; empty: the primary key
	// Upsert says that BigQuery itself is to join changes with rows, by key; else
	// loads merge them.
	Upsert bool
	// Text names columns of PostgreSQL to capture as text: for values that their
	// type cannot hold.
	Text []string
	// AppendOnly admits a MariaDB or MySQL table without a key.
	AppendOnly bool
	// ZeroDates is "null" if dates of MariaDB or MySQL that no calendar has
	// become null; else they halt the table.
	ZeroDates string
	// Columns are filled from fields of MongoDB's documents; Promote makes columns
	// of the fields that are seen.
	Columns []Column
	Promote bool
	// IgnoreCascades captures a MariaDB or MySQL table although a foreign key's
	// cascade can change its rows without an event.
	IgnoreCascades bool
}

// Column is a column that is filled from a field of documents.
type Column struct {
	Name string
	Path string // of the field, with dots; empty: Name
	Type schemas.Type
}

// Kafka says where the topics are.
type Kafka struct {
	Brokers []string // host:port; empty: the embedded broker
}

// Registry says where the schemas are.
type Registry struct {
	URL string // empty: the embedded registry
}

// Warehouse says where the core and derived tables are.
type Warehouse struct {
	Kind     string
	Path     string // of DuckDB: its file
	BigQuery BigQuery
	// LoadEvery is how long the changes of a table are gathered before they are
	// loaded, at most: each load costs.
	LoadEvery time.Duration
	// Freshness is how often a derived table is computed at most, if its spec does
	// not say; 0: whenever its inputs change.
	Freshness time.Duration
}

// How long changes are gathered, and how often derived tables are computed, if
// nothing is said. BigQuery bills at least 10 MB for each table that a statement
// reads; a broker of one's own is for trying things out.
const (
	loadEvery         = 5 * time.Second
	loadEveryEmbedded = 100 * time.Millisecond
	loadEveryBigQuery = time.Minute
	freshnessBigQuery = time.Minute
)

func (w *Warehouse) setDefaults(k Kafka) {
	w.LoadEvery, w.Freshness = loadEvery, 0
	switch {
	case w.Kind == KindBigQuery:
		w.LoadEvery, w.Freshness = loadEveryBigQuery, freshnessBigQuery
	case len(k.Brokers) == 0:
		w.LoadEvery = loadEveryEmbedded
	}
}

// BigQuery is a project. Its credentials are the environment's: those of the
// workload, or of the file that GOOGLE_APPLICATION_CREDENTIALS names.
type BigQuery struct {
	Project        string
	Location       string // of all datasets, such as EU
	MaxBytesBilled int64  // of one job; 0: no cap
	JobsURL        string // in place of Google's; without TLS if it begins with http:
	WritesAddr     string // host:port of the write path, with JobsURL
}

// Load reads the file. env looks up a variable, as os.LookupEnv does.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	return LoadFor(path, env, func(string) bool { return true })
}

// LoadFor is Load for a process that opens some of the sources only. The DSNs of
// the others are not read: their variables and files may be absent.
func LoadFor(path string, env func(string) (string, bool), opens func(source string) bool) (*Config, error) {
	r := &reader{file: path, env: env, opens: opens, lines: map[string]int{}}
	text, err := os.ReadFile(path)
	if err != nil {
		r.faults.Add(path, 0, "", reason(err), "name a file that can be read")
		return nil, r.faults.Err()
	}
	c := r.config(r.document(bytes.NewReader(text)))
	c.file, c.sum, c.lines = path, sha256.Sum256(text), r.lines
	if err := r.faults.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// DataFolder reads no more of the file than where its data folder is: for those
// who ask the running process, and need none of the secrets.
func DataFolder(path string, env func(string) (string, bool)) (string, error) {
	r := &reader{file: path, env: env, lines: map[string]int{}}
	f, err := os.Open(path)
	if err != nil {
		r.faults.Add(path, 0, "", reason(err), "name a file that can be read")
		return "", r.faults.Err()
	}
	defer f.Close()
	data := defaultData
	for _, e := range r.entries(r.document(f)) {
		if e.name == "data" {
			data = r.text(e.value)
		}
	}
	return r.resolve(data), r.faults.Err()
}

// document is the one YAML document of a file.
func (r *reader) document(in io.Reader) value {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(in)
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return value{line: 1}
	case err != nil:
		r.syntax(err)
		return value{line: 1}
	}
	if err := dec.Decode(&more); err == nil {
		r.faults.Add(r.file, more.Line, "", "is a second document", "keep everything in one, without ---")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	if len(doc.Content) == 0 { // nothing but comments
		return value{line: 1}
	}
	return value{node: doc.Content[0], line: 1}
}

func (r *reader) config(top value) *Config {
	c := &Config{
		Prefix:    "millrace",
		Data:      defaultData,
		Warehouse: Warehouse{Kind: KindDuckDB},
		HTTP:      "127.0.0.1:8080",
	}
	f := r.fields(top, "prefix", "data", "sources", "derived", "groups", "kafka", "registry", "warehouse", "http")
	if v, ok := f["prefix"]; ok {
		c.Prefix = r.name(v, r.text(v))
	}
	if v, ok := f["data"]; ok {
		c.Data = r.text(v)
	}
	c.Data = r.resolve(c.Data)
	if v, ok := f["derived"]; ok {
		c.Derived = r.folder(v)
	}
	if v, ok := f["kafka"]; ok {
		c.Kafka = r.kafka(v)
	}
	if v, ok := f["registry"]; ok {
		c.Registry = r.registry(v)
	}
	c.Warehouse.Path = filepath.Join(c.Data, "warehouse.duckdb")
	if v, ok := f["warehouse"]; ok {
		r.warehouse(v, &c.Warehouse, c.Kafka)
	} else {
		c.Warehouse.setDefaults(c.Kafka)
	}
	if v, ok := f["http"]; ok {
		c.HTTP = r.address(v, r.text(v))
	}
	if v, ok := f["sources"]; ok {
		c.Sources = r.sources(v, c.Prefix, c.Warehouse.Kind)
	} else if isMapping(top) || len(r.faults) == 0 { // else what is absent cannot be known
		r.fault(top.child("sources", top.line), "is absent", "name at least one source, with its kind, dsn and tables")
	}
	if v, ok := f["groups"]; ok {
		c.Groups = r.groups(v, c.Sources)
	}
	return c
}

// resolve is a path of the file, seen from this process.
func (r *reader) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.file), path)
}

// folder is a folder that must be there.
func (r *reader) folder(v value) string {
	path := r.text(v)
	if path == "" {
		return ""
	}
	path = r.resolve(path)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		r.fault(v, reason(err), "make the folder, or leave the field out")
	case !info.IsDir():
		r.fault(v, "is a file", "name the folder that holds the specs")
	}
	return path
}

// reason is what the system says of a file, without the path, which the
// fault's place or field names already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return "cannot be read: " + err.Error()
}
