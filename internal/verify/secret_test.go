package verify_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"millrace/internal/verify"
)

// Whatever is wrong with a DSN, or with the server behind it, the password is not told.
func TestNoErrorShowsAPassword(t *testing.T) {
	t.Parallel()
	for kind, dsns := range map[string][]string{
		"postgres": {
			"postgres://u:hunter2@127.0.0.1:1/d", "postgres://u:%zhunter2@h/d", "postgres://u:hunter2@127.0.0.1:1/d?sslmode=no",
			"postgres://u@127.0.0.1:1/d?password=hunter2&sslmode=no", "postgres://u@127.0.0.1:1/d?password=hunter2", "postgres://u:p:hunter2@h:x/d",
			"host=127.0.0.1 port=x password=hunter2", "host=127.0.0.1 port=1 user=u password='hunter2", "postgres://u:hunter2@127.0.0.1:1/d?connect_timeout=x",
		},
		"mariadb": {"mysql://u:hunter2@127.0.0.1:1/d", "mysql://u:%zhunter2@h/d", "mysql://u:hunter2@127.0.0.1:1/d?tls=no", "mysql://u@127.0.0.1:1/d?password=hunter2", "mysql://u:a/hunter2@127.0.0.1:1/d"},
		"mongodb": {
			"mongodb://u:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=100", "mongodb://u:%zhunter2@h/", "mongodb://u:hunter2@h/?replicaSet=",
			"mongodb://u:hunter2@h/?maxPoolSize=x", "mongodb://u:a/hunter2@h/", "mongodb://u:hunter2@h1,h2/?directConnection=true",
		},
	} {
		for _, dsn := range dsns {
			db, err := verify.OpenDatabase(kind, dsn)
			if err == nil {
				ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
				_, err = db.Mark(ctx)
				stop()
				if err == nil {
					t.Errorf("%s: it reads", dsn)
				}
				_ = db.Close()
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", dsn, err)
			}
		}
	}
}
