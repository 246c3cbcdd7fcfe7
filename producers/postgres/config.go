package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"millrace/internal/invalid"
	"millrace/producers"
)

// Config is a PostgreSQL source's section of the configuration.
type Config struct {
	DSN    string        `yaml:"dsn"` // postgres://user:password@host:port/database, or key=value words
	Tables []TableConfig `yaml:"tables"`
}

// TableConfig names a table to capture.
type TableConfig struct {
	Name string   `yaml:"name"` // schema.table; a partitioned table is named by its root
	Key  []string `yaml:"key"`  // the columns of a unique index; absent: the primary key
	// Text names columns to capture as text: for values that their type cannot
	// hold, such as infinity in a date.
	Text []string `yaml:"text"`
}

var _ producers.Config = (*Config)(nil)

func (t TableConfig) split() (schema, name string, ok bool) {
	schema, name, ok = strings.Cut(t.Name, ".")
	return schema, name, ok && schema != "" && name != ""
}

// Validate reports every fault, joined.
func (c *Config) Validate() error {
	var faults invalid.Faults
	if c.DSN == "" {
		faults.Add("", 0, "dsn", "is missing", "write postgres://user:password@host:port/database")
	} else if _, err := pgx.ParseConfig(c.DSN); err != nil {
		faults.Add("", 0, "dsn", dsnFault(err), "write postgres://user:password@host:port/database")
	}
	if len(c.Tables) == 0 {
		faults.Add("", 0, "tables", "is empty", "name the tables to capture as schema.table")
	}
	seen := map[string]bool{}
	for i, t := range c.Tables {
		field := fmt.Sprintf("tables[%d]", i)
		if t.Name != "" {
			field = "tables." + t.Name
		}
		if _, _, ok := t.split(); !ok {
			faults.Add("", 0, field, "names no schema and table", "write it as schema.table, such as public.orders")
		}
		if seen[t.Name] {
			faults.Add("", 0, field, "stands twice", "leave it once")
		}
		seen[t.Name] = true
		for _, list := range [][]string{t.Key, t.Text} {
			for j, col := range list {
				if col == "" || slices.Contains(list[:j], col) {
					faults.Add("", 0, field, fmt.Sprintf("names column %q twice or without a name", col), "name each column once")
				}
			}
		}
	}
	return faults.Err()
}

// dsnFault is the driver's word about a dsn, without the dsn: it may hold a
// password.
func dsnFault(err error) string {
	if inner := errors.Unwrap(err); inner != nil && !strings.Contains(inner.Error(), "@") {
		return "cannot be read: " + inner.Error()
	}
	return "cannot be read"
}

// maxIdentifier is PostgreSQL's limit for the name of a slot and of a
// publication.
const maxIdentifier = 63

// slotName is the name of the slot and of the publication:
// <prefix>_<source>, in the letters that a slot's name may have.
func slotName(prefix, source string) (string, error) {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, prefix+"_"+source)
	if len(name) > maxIdentifier {
		return "", &producers.HaltError{
			Err:  fmt.Errorf("the slot's name %s is longer than %d characters", name, maxIdentifier),
			Hint: "shorten the prefix or the source's name",
		}
	}
	return name, nil
}
