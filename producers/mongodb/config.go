package mongodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"millrace/producers"
	"millrace/schemas"
)

// Config is the section of a MongoDB source.
type Config struct {
	// DSN is mongodb://user:password@host:port/?replicaSet=name, or mongodb+srv://.
	DSN    string
	Tables []Table

	tick time.Duration // how often an idle source speaks, if not every second
}

// Table is one captured collection.
type Table struct {
	Name    string // database.collection
	Columns []Column
	// Promote makes a column of every scalar field of the documents' top level, of
	// the type that is seen first.
	Promote bool
}

// Column is a column that is filled from a field of the documents.
type Column struct {
	Name string
	// Path is where the value stands, with a dot between the names of fields and
	// the places in arrays; empty: Name.
	Path string
	Type schemas.Type
}

var _ producers.Config = (*Config)(nil)

// Columns that every table, or every table with columns of its own, has.
const (
	idColumn       = "_id"
	docColumn      = "doc"
	conflictColumn = "_conflicts"
)

// MaxColumns is how many columns a table can declare, or be given by promotion.
const MaxColumns = 200

// columnName is the form of a column's name: warehouses take it as it is, and a
// leading underscore is theirs.
var columnName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,127}$`)

func (t Table) split() (db, collection string, ok bool) {
	db, collection, ok = strings.Cut(t.Name, ".")
	return db, collection, ok && db != "" && collection != "" && !strings.ContainsAny(collection, ".$\x00")
}

func (c Column) path() string {
	if c.Path == "" {
		return c.Name
	}
	return c.Path
}

// idle is how often an idle source speaks.
func (c *Config) idle() time.Duration { return cmp.Or(c.tick, time.Second) }

// await is how long the server waits for the next change.
func (c *Config) await() time.Duration { return c.idle() / 2 }

// Validate reports every fault, joined.
func (c *Config) Validate() error {
	var faults []error
	if err := c.options().Validate(); err != nil {
		faults = append(faults, errors.New("dsn: want mongodb://user:password@host:port/?replicaSet=name, with %XX for special characters"))
	}
	if len(c.Tables) == 0 {
		faults = append(faults, errors.New("tables: empty: name the collections to capture as database.collection"))
	}
	seen := map[string]bool{}
	for _, t := range c.Tables {
		db, collection, ok := t.split()
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("tables: %q is not database.collection", t.Name))
		case slices.Contains([]string{"admin", "config", "local"}, db) || strings.HasPrefix(collection, "system."):
			faults = append(faults, fmt.Errorf("tables: %q belongs to the server and is not captured", t.Name))
		case seen[t.Name]:
			faults = append(faults, fmt.Errorf("tables: %q is named twice", t.Name))
		}
		seen[t.Name] = true
		faults = append(faults, t.columnFaults()...)
	}
	return errors.Join(faults...)
}

func (t Table) columnFaults() (faults []error) {
	fault := func(name, what string) {
		faults = append(faults, fmt.Errorf("tables: %s: columns: %q %s", t.Name, name, what))
	}
	if len(t.Columns) > MaxColumns {
		faults = append(faults, fmt.Errorf("tables: %s: columns: there are %d, and a table takes %d", t.Name, len(t.Columns), MaxColumns))
	}
	seen := map[string]bool{docColumn: true}
	for _, c := range t.Columns {
		switch lower := strings.ToLower(c.Name); {
		case lower == docColumn:
			fault(c.Name, "is the column of the whole document: choose another name and write path: "+c.path())
		case !columnName.MatchString(c.Name):
			fault(c.Name, "is no name of a column: it begins with a letter, and has letters, digits and _ alone; path: says where the value stands")
		case seen[lower]:
			fault(c.Name, "is named twice")
		default:
			seen[lower] = true
		}
		switch c.Type.Kind {
		case schemas.Bool, schemas.Int, schemas.Float, schemas.Decimal, schemas.String, schemas.Bytes, schemas.Date, schemas.Timestamp, schemas.JSON:
		default:
			fault(c.Name, "has the type "+c.Type.String()+", which no field becomes")
		}
		if slices.Contains(strings.Split(c.path(), "."), "") {
			fault(c.Name, "has a path with an empty part")
		}
	}
	return faults
}

func (c *Config) options() *options.ClientOptions {
	// Neither reads nor writes are repeated behind our back: what failed is taken
	// up again from the checkpoint.
	o := options.Client().ApplyURI(c.DSN).SetAppName("millrace").SetRetryReads(false).SetRetryWrites(false)
	if o.ServerSelectionTimeout == nil { // else the DSN says it
		o.SetServerSelectionTimeout(connectPatience)
	}
	return o
}

// Open connects, checks what the source needs, and resumes.
func (c *Config) Open(ctx context.Context, from producers.Start, env producers.Env) (producers.Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return open(ctx, c, from, env)
}
