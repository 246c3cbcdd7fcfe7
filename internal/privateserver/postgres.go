package privateserver

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

type postgresEngine struct {
	initdb, postgres string
	acct             *syscall.Credential
}

func newPostgres() (engine, error) {
	const pkg = "postgresql"
	folders := []string{
		"/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql@*/bin",
		"/opt/homebrew/bin", "/usr/local/opt/postgresql@*/bin",
	}
	initdb, err := locate("initdb", pkg, folders...)
	if err != nil {
		return nil, err
	}
	// Beside initdb: two versions may be installed.
	postgres, err := locate(filepath.Join(filepath.Dir(initdb), "postgres"), pkg)
	if err != nil {
		return nil, err
	}
	acct, err := serverAccount("postgres", pkg)
	if err != nil {
		return nil, err
	}
	return &postgresEngine{initdb: initdb, postgres: postgres, acct: acct}, nil
}

func (e *postgresEngine) account() *syscall.Credential { return e.acct }

func (e *postgresEngine) initialize(ctx context.Context, data string) *exec.Cmd {
	return exec.CommandContext(ctx, e.initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
}

func (e *postgresEngine) command(s *Server) *exec.Cmd {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(s.port),
		"unix_socket_directories=" + s.SocketDir(),
		"wal_level=logical",
		"max_wal_senders=20",
		"max_replication_slots=20",
		"max_connections=200",
		"shared_buffers=64MB",
		"dynamic_shared_memory_type=mmap", // files in the data folder, which a kill does not leave behind
		// synchronous_commit stays on: what a client was told is in the system's
		// hands, so a kill of the server loses nothing.
		"fsync=off",
		"full_page_writes=off",
	}
	args := []string{"-D", filepath.Join(s.dir, "data")}
	for _, set := range settings {
		args = append(args, "-c", set)
	}
	return exec.Command(e.postgres, append(args, s.args...)...)
}

// ready reads the lock file, in which the server notes its state. The file of
// a killed server is still there and says ready as well, under another pid.
func (e *postgresEngine) ready(_ context.Context, s *Server, pid int) bool {
	f, err := os.Open(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return false
	}
	defer f.Close()
	var lines []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		lines = append(lines, strings.TrimSpace(sc.Text()))
	}
	return len(lines) >= 8 && lines[0] == strconv.Itoa(pid) && lines[7] == "ready"
}

func (e *postgresEngine) busy(log string) bool {
	return strings.Contains(log, "Address already in use") || strings.Contains(log, "is still in use")
}

func (e *postgresEngine) stopSignals() []syscall.Signal {
	return []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}
}

func (e *postgresEngine) abortSignal() syscall.Signal { return syscall.SIGQUIT }

func (e *postgresEngine) dsn(addr, db string) string {
	if db == "" {
		db = "postgres"
	}
	return "postgres://postgres@" + addr + "/" + db + "?sslmode=disable"
}
