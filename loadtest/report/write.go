package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Write writes the report into a folder, which is made if need be: results.json,
// report.md, report.html and bench.txt.
func (r *Result) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	page, err := r.HTML()
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	for name, content := range map[string][]byte{
		"results.json": append(text, '\n'), "report.md": []byte(r.Markdown()), "report.html": page, "bench.txt": []byte(r.Benchfmt()),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}
