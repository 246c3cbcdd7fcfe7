package bigqueryfake

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	bq "google.golang.org/api/bigquery/v2"
)

// partitionLayouts are the layouts of the ids of partitions.
var partitionLayouts = map[string]string{"HOUR": "2006010215", "DAY": "20060102", "MONTH": "200601", "YEAR": "2006"}

// deliver writes the result of a query into its destination, in one update that
// no transaction of a script fences.
func (s *session) deliver(ctx context.Context, config *bq.JobConfigurationQuery) error {
	if err := s.settleArrays(ctx, s.last.columns, "temp.bq_result"); err != nil {
		return err
	}
	ref := config.DestinationTable
	id, decorator, _ := strings.Cut(ref.TableId, "$")
	if ref.ProjectId != "" && ref.ProjectId != s.opts.Project {
		return notFound("Project %s", ref.ProjectId)
	}
	s.mu.Lock()
	t, missing := s.tableAt(ref.DatasetId, id)
	s.mu.Unlock()
	if missing != nil {
		if config.CreateDisposition == "CREATE_NEVER" || decorator != "" {
			return missing
		}
		return s.deliverNew(ctx, &table{dataset: ref.DatasetId, id: id}, config, false)
	}
	if t.isView() {
		return invalid("%s.%s is a view", t.dataset, t.id)
	}
	only, err := partitionFilter(t, decorator)
	if err != nil {
		return err
	}
	switch config.WriteDisposition {
	case "WRITE_TRUNCATE":
		if decorator == "" && !sameShape(s.columnsOfTable(t), s.last.columns) {
			return s.deliverNew(ctx, &table{dataset: t.dataset, id: t.id, partition: t.partition, cluster: t.cluster, labels: t.labels, description: t.description}, config, true)
		}
		return s.deliverRows(ctx, t, only, true)
	case "WRITE_APPEND":
		return s.deliverRows(ctx, t, only, false)
	}
	n, err := s.count(ctx, t)
	if err != nil {
		return err
	}
	if n > 0 {
		return duplicate("Table %s:%s.%s", s.opts.Project, t.dataset, t.id)
	}
	return s.deliverRows(ctx, t, only, false)
}

func sameShape(a, b []column) bool {
	return slices.EqualFunc(a, b, func(x, y column) bool { return strings.EqualFold(x.name, y.name) && x.typ.bare() == y.typ.bare() })
}

var digits = regexp.MustCompile(`\([^)]*\)`)

// bare is the type without digits, which results do not have.
func (t columnType) bare() string { return digits.ReplaceAllString(t.String(), "") }

// deliverNew makes the table with the result's columns.
func (s *session) deliverNew(ctx context.Context, t *table, config *bq.JobConfigurationQuery, replace bool) error {
	t.columns = slices.Clone(s.last.columns)
	if p := config.TimePartitioning; p != nil {
		t.partition = &partition{column: p.Field, unit: p.Type, expireMs: p.ExpirationMs}
	}
	if config.Clustering != nil {
		t.cluster = config.Clustering.Fields
	}
	return s.addTable(ctx, t, replace, func(physical string) error {
		_, err := s.conn.ExecContext(ctx, "INSERT INTO "+physical+" SELECT * FROM temp.bq_result")
		return err
	})
}

// deliverRows writes the result into a table that is there.
func (s *session) deliverRows(ctx context.Context, t *table, only string, truncate bool) error {
	if !sameShape(s.columnsOfTable(t), s.last.columns) {
		return invalid("Provided Schema does not match Table %s:%s.%s.", s.opts.Project, t.dataset, t.id)
	}
	s.ddl.RLock()
	defer s.ddl.RUnlock()
	var outside int64
	err := s.conn.QueryRowContext(ctx, "SELECT count(*) FROM temp.bq_result WHERE NOT coalesce("+only+", FALSE)").Scan(&outside)
	if err != nil {
		return err
	}
	if outside > 0 {
		return invalid("Some rows belong to different partitions rather than destination partition of %s:%s.%s", s.opts.Project, t.dataset, t.id)
	}
	texts := []string{"BEGIN TRANSACTION", "INSERT INTO " + t.physical + " SELECT * FROM temp.bq_result", "COMMIT"}
	if truncate {
		texts = slices.Insert(texts, 1, "DELETE FROM "+t.physical+" WHERE "+only)
	}
	for _, text := range texts {
		if _, err := s.conn.ExecContext(ctx, text); err != nil {
			return conflict(err, t.dataset+"."+t.id)
		}
	}
	return nil
}

// partitionFilter is the condition that a row is of the decorator's partition.
func partitionFilter(t *table, decorator string) (string, error) {
	if decorator == "" {
		return "TRUE", nil
	}
	if t.partition == nil {
		return "", invalid("Table %s.%s is not partitioned", t.dataset, t.id)
	}
	at, err := time.Parse(partitionLayouts[t.partition.unit], decorator)
	if err != nil {
		return "", invalid("Invalid partition id %q", decorator)
	}
	return fmt.Sprintf("date_trunc('%s', %s) = CAST('%s' AS TIMESTAMP)", t.partition.unit, quoteName(t.partition.column), at.Format(time.DateTime)), nil
}
