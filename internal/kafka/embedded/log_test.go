package embedded

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// A warning is for a person; that a large commit takes its time is none.
func TestSlowCommitsAreNoWarning(t *testing.T) {
	var out bytes.Buffer
	l := logger{slog.New(slog.NewTextHandler(&out, nil))}
	l.Logf(kfake.LogLevelWarn, "txn: EndTxn slow pid=%d", 1)
	l.Logf(kfake.LogLevelWarn, "disk %s", "full")
	if got := out.String(); strings.Contains(got, "EndTxn") || !strings.Contains(got, "disk full") {
		t.Errorf("logged: %s", got)
	}
}
