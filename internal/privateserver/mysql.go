package privateserver

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

type mysqlEngine struct {
	mariadbEngine // the same signals, the same socket, the same greeting
	mysqld        string
}

// newMySQL finds the server that scripts/mysql.sh brings. A mysqld of the
// machine is not looked for in PATH: MariaDB has one by that name too.
func newMySQL() (engine, error) {
	const pkg = "mysql-server"
	folders := []string{"/var/cache/millrace/mysql", "/opt/homebrew/opt/mysql*/bin", "/usr/local/opt/mysql*/bin"}
	if own, err := os.UserCacheDir(); err == nil {
		folders = append([]string{filepath.Join(own, "millrace", "mysql")}, folders...)
	}
	mysqld := ""
	for _, folder := range folders {
		if found, err := filepath.Glob(filepath.Join(folder, "mysqld")); err == nil && len(found) > 0 {
			mysqld = found[0]
			break
		}
	}
	if mysqld == "" {
		return nil, &MissingError{What: "MySQL's mysqld", Package: pkg}
	}
	acct, err := serverAccount("mysql", pkg)
	if err != nil {
		return nil, err
	}
	return &mysqlEngine{mariadbEngine{acct: acct}, mysqld}, nil
}

// initialize lets root in over TCP, and removes the identity that it made:
// every copy of the data makes its own when it starts.
func (e *mysqlEngine) initialize(ctx context.Context, data string) *exec.Cmd {
	const steps = `init="$0/../run/init.sql"
echo "CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;" >"$init" &&
"$@" --init-file="$init" && rm "$init" "$0/auto.cnf"`
	return exec.CommandContext(ctx, "/bin/sh", "-c", steps, data,
		e.mysqld, "--datadir="+data, "--tmpdir="+data, "--initialize-insecure", "--secure-file-priv=",
		"--innodb-redo-log-capacity="+redoLogSize, "--innodb-doublewrite=OFF", "--innodb-buffer-pool-size=32M")
}

func (e *mysqlEngine) command(s *Server) *exec.Cmd {
	args := []string{
		"--datadir=" + filepath.Join(s.dir, "data"),
		"--tmpdir=" + s.SocketDir(),
		"--socket=" + e.socket(s),
		"--pid-file=" + filepath.Join(s.SocketDir(), "mysql.pid"),
		"--bind-address=127.0.0.1",
		"--port=" + strconv.Itoa(s.port),
		"--mysqlx=OFF",
		"--server-id=1",
		"--log-bin=binlog",
		"--binlog-row-metadata=FULL",
		"--gtid-mode=ON",
		"--enforce-gtid-consistency=ON",
		"--secure-file-priv=",
		"--skip-name-resolve",
		"--max-allowed-packet=64M",
		"--max-connections=200",
		"--innodb-buffer-pool-size=32M",
		"--innodb-redo-log-capacity=" + redoLogSize,
		// 2, not 0: what a client was told is in the system's hands, so a kill of
		// the server loses nothing.
		"--innodb-flush-log-at-trx-commit=2",
		"--innodb-doublewrite=OFF",
		"--sync-binlog=0",
		"--performance-schema=OFF",
	}
	return exec.Command(e.mysqld, append(args, s.args...)...)
}
