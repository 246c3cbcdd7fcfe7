package main

import (
	"fmt"
	"strings"
	"testing"

	"millrace/internal/testkit"
)

// A data folder says whose it is before anything is made at a source; and who
// ends the process sees that it has ended.
func TestDataFolderBelongsToItsPrefix(t *testing.T) {
	t.Parallel()
	dsn := testkit.PostgresDatabase(t)
	s := &shop{db: testkit.Open(t, dsn), name: "public.t", source: "SELECT a::text FROM public.t", core: "SELECT a FROM core.t"}
	s.exec(t, "CREATE TABLE public.t (a int PRIMARY KEY)", "INSERT INTO public.t VALUES (1)")
	const config = "prefix: %s\ndata: ./data\nhttp: 127.0.0.1:0\nsources:\n  s: {kind: postgres, dsn: %q, tables: {public.t: {}}}\n"
	i := newInstall(t, fmt.Sprintf(config, "old", dsn), nil)
	i.start()
	i.awaitEqual(t, s)
	i.stop()
	if log := i.log.String(); !strings.Contains(log, "msg=stopped") {
		t.Errorf("the log does not say that it stopped:\n%s", log)
	}
	i.write("millrace.yaml", fmt.Sprintf(config, "new", dsn))
	out, err := i.command("up", "--config", "millrace.yaml").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "belongs to the prefix old: its core.t was loaded from topic old.s.public.t") {
		t.Errorf("%v: %s", err, out)
	}
	var made int
	if err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_publication WHERE pubname LIKE 'new%'").Scan(&made); err != nil || made != 0 {
		t.Errorf("%d publications were made (%v)", made, err)
	}
	i.write("millrace.yaml", fmt.Sprintf(config, "old", dsn))
	s.exec(t, "INSERT INTO public.t VALUES (2)")
	i.start()
	i.await("it goes on", func() bool {
		rows, err := i.rows("SELECT count(*) FROM core.t")
		return err == nil && rows[0] == "2"
	})
}

// Configuration and specs are read at the start; that those on disk are others
// by now is said by the process and by a check.
func TestFilesThatChangeWhileTheProcessRuns(t *testing.T) {
	t.Parallel()
	const daily = "name: analytics.%s\nowner: t\nwindow: day\ninputs: {core.t: made}\nquery: SELECT CAST(made AS DATE) AS day, COUNT(*) AS n FROM core.t GROUP BY 1\n"
	const config = "prefix: p\ndata: ./data\nhttp: 127.0.0.1:0\nsources:\n  away: {kind: postgres, dsn: 'postgres://u@127.0.0.1:1/d', tables: {public.t: {event_time: made}%s}}\nderived: ./derived\n"
	i := newInstall(t, fmt.Sprintf(config, ""),
		map[string]string{"derived/daily.yaml": fmt.Sprintf(daily, "daily")})
	i.start()
	printed := func(args ...string) string {
		out, err := i.command(append(args, "--config", "millrace.yaml")...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v", args, err)
		}
		return string(out)
	}
	for _, command := range []string{"status", "check"} {
		if out := printed(command); strings.Contains(out, "restart millrace") || !strings.Contains(out, "away") {
			t.Errorf("%s, when nothing has changed:\n%s", command, out)
		}
	}
	i.write("derived/daily.yaml", fmt.Sprintf(daily, "daily")+"freshness: 1m\n")
	i.write("derived/more.yaml", fmt.Sprintf(daily, "more"))
	i.write("millrace.yaml", fmt.Sprintf(config, ", public.more: {}"))
	for _, command := range []string{"status", "check"} {
		out := printed(command)
		for _, want := range []string{"millrace.yaml has changed: restart millrace to use it", "its daily.yaml has changed: restart millrace to use it", "the spec more.yaml is new: restart millrace"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", command, want, out)
			}
		}
	}
}
