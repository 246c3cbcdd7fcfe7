package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"millrace/internal/privateserver"
)

// RealKafka is what --kafka says for Apache Kafka.
const RealKafka = "real"

// realKafka is an Apache Kafka of one broker.
type realKafka struct {
	script, dir string
	env         []string
	addr        string
	pid         int
}

// startKafka runs scripts/kafka.sh, which installs Kafka if it is not there.
func startKafka(ctx context.Context, dir string) (*realKafka, error) {
	script, err := above("scripts/kafka.sh")
	if err != nil {
		return nil, err
	}
	for _, needed := range []struct{ program, brings string }{{"java", "default-jre-headless"}, {"mvn", "maven"}} {
		if _, err := exec.LookPath(needed.program); err != nil {
			return nil, &privateserver.MissingError{What: needed.program + ", for Apache Kafka,", Package: needed.brings}
		}
	}
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return nil, err
	}
	k := &realKafka{
		script: script, dir: dir, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])),
		env: append(os.Environ(), "KAFKA_DIR="+dir, fmt.Sprint("KAFKA_PORT=", ports[0]), fmt.Sprint("KAFKA_CONTROLLER_PORT=", ports[1])),
	}
	if err := k.do(ctx, "start"); err != nil {
		return nil, errors.Join(err, k.close())
	}
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err == nil {
		k.pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the process of Kafka: %w", err), k.close())
	}
	return k, nil
}

func (k *realKafka) do(ctx context.Context, what string) error {
	cmd := exec.CommandContext(ctx, k.script, what)
	cmd.Env = k.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s Kafka: %w\n%s", what, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (k *realKafka) close() error { return k.do(context.Background(), "stop") }

// above finds a file of the repository from a folder inside it.
func above(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	for {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("find %s: run this inside the repository", name)
		}
		dir = parent
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func freePorts(ctx context.Context, n int) (ports []int, err error) {
	for range n {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // nothing came in
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
