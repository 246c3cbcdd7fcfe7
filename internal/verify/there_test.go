package verify

import (
	"strings"
	"testing"

	"millrace/internal/testkit"
)

// Of a table that is gone at its source it is said what to do.
func TestTableThatIsGone(t *testing.T) {
	for name, dsn := range map[string]string{"postgres": testkit.PostgresDatabase(t), "mariadb": testkit.MariaDBDatabase(t)} {
		db, err := OpenDatabase(name, dsn)
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Copy(t.Context(), nil, Table{Name: "gone.t"}, "core.t")
		if err == nil || !strings.Contains(err.Error(), "copy gone.t from its source: it is not there") || !strings.Contains(err.Error(), "make it again") {
			t.Errorf("%s: got %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
