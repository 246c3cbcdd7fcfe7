package privateserver

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type mariadbEngine struct {
	install, mariadbd string
	acct              *syscall.Credential
}

func newMariaDB() (engine, error) {
	const pkg = "mariadb-server"
	mariadbd, err := locate("mariadbd", pkg, "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/opt/mariadb*/bin", "/opt/homebrew/bin")
	if err != nil {
		return nil, err
	}
	install, err := locate("mariadb-install-db", pkg, "/usr/bin", "/opt/homebrew/opt/mariadb*/bin", "/opt/homebrew/bin")
	if err != nil {
		return nil, err
	}
	acct, err := serverAccount("mysql", pkg)
	if err != nil {
		return nil, err
	}
	return &mariadbEngine{install: install, mariadbd: mariadbd, acct: acct}, nil
}

func (e *mariadbEngine) account() *syscall.Credential { return e.acct }

const redoLogSize = "8M" // of every copy: a large one costs more than the rest of a start

func (e *mariadbEngine) initialize(ctx context.Context, data string) *exec.Cmd {
	// A server that starts removes the temporary tables that it finds in its tmpdir,
	// those of others too.
	return exec.CommandContext(ctx, e.install, "--no-defaults", "--datadir="+data, "--tmpdir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
		"--innodb-log-file-size="+redoLogSize)
}

func (e *mariadbEngine) socket(s *Server) string { return filepath.Join(s.SocketDir(), "mysql.sock") }

func (e *mariadbEngine) command(s *Server) *exec.Cmd {
	args := []string{
		"--no-defaults",
		"--datadir=" + filepath.Join(s.dir, "data"),
		"--tmpdir=" + s.SocketDir(),
		"--socket=" + e.socket(s),
		"--pid-file=" + filepath.Join(s.SocketDir(), "mysql.pid"),
		"--bind-address=127.0.0.1",
		"--port=" + strconv.Itoa(s.port),
		"--server-id=1",
		"--log-bin=binlog",
		"--log-slave-updates=ON",
		"--binlog-format=ROW",
		"--binlog-row-image=FULL",
		"--binlog-row-metadata=FULL",
		"--gtid-strict-mode=ON",
		"--character-set-server=utf8mb4",
		"--skip-name-resolve",
		"--max-allowed-packet=64M",
		"--max-connections=200",
		"--innodb-buffer-pool-size=64M",
		"--innodb-log-file-size=" + redoLogSize,
		// 2, not 0: what a client was told is in the system's hands, so a kill of
		// the server loses nothing.
		"--innodb-flush-log-at-trx-commit=2",
		"--innodb-doublewrite=OFF",
		"--sync-binlog=0",
		"--performance-schema=OFF",
	}
	return exec.Command(e.mariadbd, append(args, s.args...)...)
}

// ready connects through the socket, which lies in the server's own folder:
// on the port another server could answer.
func (e *mariadbEngine) ready(ctx context.Context, s *Server, _ int) bool {
	c, err := new(net.Dialer).DialContext(ctx, "unix", e.socket(s))
	if err != nil {
		return false
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	const handshake = 10 // the fifth byte of the greeting; an error has 255 there
	var greeting [5]byte
	n, err := c.Read(greeting[:])
	return err == nil && n == len(greeting) && greeting[4] == handshake
}

func (e *mariadbEngine) busy(log string) bool {
	return strings.Contains(log, "Address already in use") || strings.Contains(log, "Unable to lock")
}

func (e *mariadbEngine) stopSignals() []syscall.Signal {
	return []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}
}

func (e *mariadbEngine) abortSignal() syscall.Signal { return syscall.SIGKILL }

func (e *mariadbEngine) dsn(addr, db string) string {
	if db == "" {
		db = "mysql"
	}
	return "mysql://root@" + addr + "/" + db
}
