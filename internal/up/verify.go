package up

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millrace/internal/config"
	"millrace/internal/page"
	"millrace/internal/verify"
)

// Verify compares a table with what it should be: a core table with its source, a
// history with its topics, a derived table with its query over what the warehouse
// holds of its inputs. It asks the process at the address, or the one that runs on
// the data folder. Once the table is found, what is done and waited for is told to
// tell.
func Verify(ctx context.Context, conf *config.Config, address, table string, tell verify.Tell) (report verify.Report, err error) {
	running := RunFile{HTTP: address, Kafka: conf.Kafka.Brokers, Registry: conf.Registry.URL}
	if address == "" {
		if running, err = Find(conf.Data); err != nil {
			return report, err
		}
	}
	client := askRunning(conf, running)
	folder, err := os.MkdirTemp("", "millrace-verify-")
	if err != nil {
		return report, fmt.Errorf("make a folder for the comparison: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	replica, err := verify.NewReplica(ctx, filepath.Join(folder, "verify.duckdb"))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, replica.Close()) }()
	begin := func() {
		tell(fmt.Sprintf("comparing %s; if it is not up to date, this waits for it, up to %s", table, counted(client.Patience)))
	}
	for _, source := range conf.Sources {
		for name, t := range source.Tables {
			if t.Core == table {
				begin()
				return verifyCore(ctx, client, replica, source, name, tell)
			}
		}
	}
	status, err := client.Status(ctx)
	if err != nil {
		return report, err
	}
	if at := slices.IndexFunc(status.Core, func(c page.Core) bool { return c.Table == table }); at >= 0 {
		begin()
		topics, err := topicsOf(conf, running)
		if err != nil {
			return report, err
		}
		return topics.CheckHistory(ctx, client, replica, status.Core[at].Topic, table, tell)
	}
	specs, at, err := findSpec(conf, table)
	if err != nil {
		return report, err
	}
	begin()
	return verify.Derived(ctx, client, replica, specs[at], eventTimes(ctx, client, conf, specs), tell)
}

// topicsOf are the topics of the running process: the configuration's, or those that it
// embeds.
func topicsOf(conf *config.Config, running RunFile) (out verify.Topics, err error) {
	brokers, at := conf.Kafka, conf.Registry
	if len(brokers.Brokers) == 0 {
		brokers.Brokers = running.Kafka
	}
	if at.URL == "" {
		at.URL = running.Registry
	}
	if out.Cluster, err = ClusterOf(brokers); err != nil {
		return out, err
	}
	schemas, err := RegistryOf(at)
	if err != nil {
		return out, err
	}
	out.Schema = schemas.Schema
	return out, nil
}

// askRunning is the running process with what the configuration says of its warehouse.
// What was just written may be gathered for a while, and a table that others
// are made of comes before them.
func askRunning(conf *config.Config, running RunFile) verify.On {
	client := &page.Client{Addr: running.HTTP}
	w := conf.Warehouse
	return verify.On{
		Platform: client, BigQuery: w.Kind == config.KindBigQuery, Patience: time.Minute + 2*w.LoadEvery + 4*w.Freshness,
		Show: func(ctx context.Context, table, window string) (*page.Table, error) {
			shown, err := client.Show(ctx, table, window, nil)
			if err != nil {
				return nil, err
			}
			return shown.Result, nil
		},
	}
}

// counted is a time in minutes, for people.
func counted(d time.Duration) string {
	if d < 2*time.Minute {
		return "a minute"
	}
	return fmt.Sprintf("%d minutes", int(d.Minutes()))
}

func verifyCore(ctx context.Context, client verify.On, replica *verify.Replica, source config.Source, name string, tell verify.Tell) (report verify.Report, err error) {
	db, err := verify.OpenDatabase(source.Kind, source.DSN)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	t := source.Tables[name]
	table := verify.Configured(name, t)
	return verify.Core(ctx, client, replica, db, table, t.Core, tell)
}

// findSpec reads the specs, and says which of them is the table's.
func findSpec(conf *config.Config, table string) ([]*verify.Spec, int, error) {
	if conf.Derived == "" {
		return nil, 0, fmt.Errorf("%s is no core table, and the configuration has no derived tables", table)
	}
	specs, err := verify.ReadSpecs(conf.Derived)
	if err != nil {
		return nil, 0, err
	}
	at := slices.IndexFunc(specs, func(s *verify.Spec) bool { return s.Name == table })
	if at < 0 {
		return nil, 0, fmt.Errorf("%s is neither a core nor a derived table of the configuration: see millrace status", table)
	}
	return specs, at, nil
}

// eventTimes are the columns by which tables are cut where a spec does not say.
func eventTimes(ctx context.Context, client verify.On, conf *config.Config, specs []*verify.Spec) verify.EventTimes {
	times := verify.EventTimes{}
	for _, source := range conf.Sources {
		for _, t := range source.Tables {
			if len(t.EventTime) > 0 {
				times[t.Core], times[t.History] = t.EventTime[0], t.EventTime[0]
			}
		}
	}
	for _, s := range specs {
		if s.Window == nil {
			continue
		}
		if times[s.Name] = s.Window.Column; s.Window.Column != "" {
			continue
		}
		shape, err := client.Query(ctx, "SELECT * FROM "+s.Name+" WHERE FALSE")
		if err != nil {
			continue // not made yet, so nothing reads it yet
		}
		for i, t := range shape.Types {
			if t == "DATE" || t == "DATETIME" || strings.HasPrefix(t, "TIMESTAMP") {
				times[s.Name] = shape.Columns[i]
				break
			}
		}
	}
	return times
}
