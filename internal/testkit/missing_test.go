package testkit

import (
	"fmt"
	"strings"
	"testing"

	"millrace/internal/privateserver"
)

// recorder notes how a test would have ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) { r.skipped = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) { r.failed = fmt.Sprintf(format, args...) }

func (r *recorder) Fatal(args ...any) { r.failed = fmt.Sprint(args...) }

func TestMissingServerSkipsHereAndFailsInCI(t *testing.T) {
	missing := fmt.Errorf("start postgres: %w", &privateserver.MissingError{What: "initdb", Package: "postgresql"})
	t.Setenv("CI", "")
	var local recorder
	check(&local, missing)
	if local.failed != "" || !strings.Contains(local.skipped, "initdb") || !strings.Contains(local.skipped, "postgresql") {
		t.Errorf("locally: skipped %q, failed %q", local.skipped, local.failed)
	}
	t.Setenv("CI", "true")
	var ci recorder
	check(&ci, missing)
	if ci.skipped != "" || !strings.Contains(ci.failed, "initdb") || !strings.Contains(ci.failed, "postgresql") {
		t.Errorf("in CI: skipped %q, failed %q", ci.skipped, ci.failed)
	}
}

func TestAnyOtherErrorFails(t *testing.T) {
	t.Setenv("CI", "")
	var r recorder
	check(&r, fmt.Errorf("start postgres: no space left"))
	if r.skipped != "" || !strings.Contains(r.failed, "no space left") {
		t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
	}
}
