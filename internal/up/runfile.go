package up

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// RunFile says where a running process can be reached. It stands in the data
// folder, as run.json, while the process runs.
type RunFile struct {
	PID      int      `json:"pid"`
	HTTP     string   `json:"http"` // host:port
	Kafka    []string `json:"kafka"`
	Registry string   `json:"registry"`
}

func runFilePath(data string) string { return filepath.Join(data, "run.json") }

func (p *process) runFile() RunFile {
	return RunFile{PID: os.Getpid(), HTTP: p.ops.Addr(), Kafka: p.cluster.Brokers, Registry: p.registryURL()}
}

// writeRunFile is for a process that has the data folder; others may run beside
// it and leave the file alone.
func (p *process) writeRunFile() error {
	if p.Parts != All() {
		return nil
	}
	text, err := json.MarshalIndent(p.runFile(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode run.json: %w", err)
	}
	path := runFilePath(p.Config.Data)
	fresh := path + ".new" // readers see the old file or the new one, never half of it
	if err := os.WriteFile(fresh, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write run.json: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("write run.json: %w", err)
	}
	p.closers = append(p.closers, func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove run.json: %w", err)
		}
		return nil
	})
	return nil
}

// Find reads where the process on the data folder can be reached.
func Find(data string) (RunFile, error) {
	var f RunFile
	text, err := os.ReadFile(runFilePath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("nothing runs on the data folder %s: start millrace up, or name its configuration with --config; a part that runs apart (produce, consume, derive) is asked with --address HOST:PORT, which it prints when it starts", data)
	}
	if err != nil {
		return f, fmt.Errorf("read run.json: %w", err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, fmt.Errorf("read %s: %w", runFilePath(data), err)
	}
	return f, nil
}
