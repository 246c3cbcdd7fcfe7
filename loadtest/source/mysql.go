package source

import (
	"context"
	"encoding/json"
	"fmt"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// mysqlServer is MySQL: MariaDB but for the names of a few things.
type mysqlServer struct{ *mariadb }

func openMySQL(p Place) (Database, error) {
	db, err := openMariaDB(p)
	if err != nil {
		return nil, err
	}
	return &mysqlServer{db.(*mariadb)}, nil
}

func (m *mysqlServer) Mark(ctx context.Context) (json.RawMessage, error) {
	var at gomysql.Position
	var only, except, gtids string
	if err := m.db.QueryRowContext(ctx, "SHOW BINARY LOG STATUS").Scan(&at.Name, &at.Pos, &only, &except, &gtids); err != nil {
		return nil, fmt.Errorf("read the end of the binlog: %w", err)
	}
	return json.Marshal(at)
}

func (m *mysqlServer) Version(ctx context.Context) (v string, err error) {
	err = m.db.QueryRowContext(ctx, "SELECT version()").Scan(&v)
	return "MySQL " + v, err
}

func drainMySQLLog(ctx context.Context, d Drain) error {
	return drainBinlog(ctx, d, gomysql.MySQLFlavor)
}
