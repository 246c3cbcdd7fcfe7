package testkit

import (
	"fmt"
	"net/url"

	"github.com/go-sql-driver/mysql"
)

// DriverDSN is the form in which go-sql-driver wants the DSN
// mysql://user:password@host:port/db.
func DriverDSN(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("parse the DSN of a MariaDB: %w", err)
	}
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr = u.User.Username(), "tcp", u.Host
	c.Passwd, _ = u.User.Password()
	if len(u.Path) > 1 {
		c.DBName = u.Path[1:]
	}
	c.ParseTime = true
	c.MultiStatements = true
	return c.FormatDSN(), nil
}
