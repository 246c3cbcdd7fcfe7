package bigquery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	api "google.golang.org/api/bigquery/v2"

	"millrace/internal/warehouse"
	"millrace/internal/warehouse/sqlgen"
)

// Select is described at warehouse.Warehouse.
func (w *Warehouse) Select(ctx context.Context, query string, max int) (*warehouse.Answer, error) {
	out, err := w.answer(ctx, query, max)
	if err != nil {
		return nil, cureRead(err)
	}
	return out, nil
}

// answer is Select without what a person can do about its error.
func (w *Warehouse) answer(ctx context.Context, query string, max int) (*warehouse.Answer, error) {
	parsed, _, err := parse(query)
	var refused *warehouse.QueryError
	if errors.As(err, &refused) && refused.Message == notSelect || err == nil && parsed.Statements != 1 {
		return nil, errors.New("only a single SELECT can be run here")
	}
	if err != nil {
		return nil, err
	}
	id := "millrace_select_" + randomID()
	asked := task{what: "select", table: "none", text: func(string) string { return query }}
	if err := w.insert(ctx, asked, id); err != nil {
		return nil, fmt.Errorf("make job %s: %w", id, err)
	}
	page, err := w.await(ctx, id, true)
	if err != nil {
		return nil, w.abandon(ctx, asked, id, err)
	}
	out := &warehouse.Answer{Rows: [][]*string{}}
	for _, f := range page.Schema.Fields {
		out.Columns, out.Types = append(out.Columns, f.Name), append(out.Types, typeName(f))
	}
	w.account(ctx, asked, id)
	for schema := page.Schema; ; {
		for _, r := range page.Rows {
			if len(out.Rows) == max {
				return nil, warehouse.ErrTooManyRows
			}
			out.Rows = append(out.Rows, texts(schema, r))
		}
		if page.PageToken == "" {
			return out, nil
		}
		if page, err = w.nextPage(ctx, id, page.PageToken); err != nil {
			return nil, fmt.Errorf("read the result: %w", err)
		}
	}
}

// texts are a row's values as SQL writes them.
func texts(schema *api.TableSchema, row *api.TableRow) []*string {
	out := make([]*string, len(row.F))
	for i, cell := range row.F {
		if cell.V != nil {
			text := spell(schema.Fields[i], cell.V)
			out[i] = &text
		}
	}
	return out
}

// spell is a value of the field. A list is [1, 2], a struct (1, 2).
func spell(f *api.TableFieldSchema, value any) string {
	switch v := value.(type) {
	case nil:
		return "NULL"
	case []any: // of a list
		item := *f
		item.Mode = ""
		items := make([]string, len(v))
		for i, cell := range v {
			items[i] = spell(&item, inner(cell, "v"))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any: // of a struct
		cells, _ := inner(v, "f").([]any)
		parts := make([]string, min(len(cells), len(f.Fields)))
		for i := range parts {
			parts[i] = spell(f.Fields[i], inner(cells[i], "v"))
		}
		return "(" + strings.Join(parts, ", ") + ")"
	case string:
		if us, err := strconv.ParseInt(v, 10, 64); err == nil && f.Type == "TIMESTAMP" {
			return time.UnixMicro(us).UTC().Format("2006-01-02 15:04:05.999999") + "+00"
		}
		return v
	}
	return fmt.Sprint(value)
}

// inner is what the API wraps under the name.
func inner(v any, name string) any {
	m, _ := v.(map[string]any)
	return m[name]
}

// Loaded is described at warehouse.Warehouse.
func (w *Warehouse) Loaded(ctx context.Context) (table, topic string, err error) {
	err = w.coreHeads(ctx, func(head string) error {
		answer, err := w.answer(ctx, "SELECT topic FROM "+w.dialect.Ident(sqlgen.Schema)+"."+w.dialect.Ident(head)+" WHERE topic <> ''", 1)
		if err != nil {
			return cure(fmt.Errorf("read %s: %w", head, err))
		}
		if len(answer.Rows) == 1 {
			table, topic = sqlgen.HeadOf(head), *answer.Rows[0][0]
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return table, topic, passing(err)
}

// errEnough ends a list.
var errEnough = errors.New("that is enough")

// coreHeads lists the heads of core tables, until do returns an error.
func (w *Warehouse) coreHeads(ctx context.Context, do func(head string) error) error {
	for token := ""; ; {
		list, err := w.listTables(ctx, sqlgen.Schema, token)
		if isMissing(err) {
			return nil
		}
		if err != nil {
			return cure(fmt.Errorf("list the tables of %s: %w", sqlgen.Schema, err))
		}
		for _, t := range list.Tables {
			head := t.TableReference.TableId
			if !strings.HasPrefix(head, "core__") || !strings.HasSuffix(head, "__head") {
				continue
			}
			if err := do(head); err != nil {
				return err
			}
		}
		if token = list.NextPageToken; token == "" {
			return nil
		}
	}
}

// tablesAtOnce is how many tables a page of a list has.
const tablesAtOnce = 1000

// listTables reads a page of a dataset's tables.
func (w *Warehouse) listTables(ctx context.Context, dataset, token string) (list *api.TableList, err error) {
	pause := w.pauses()
	defer pause.end()
	for {
		err = w.call(ctx, func(ctx context.Context) (err error) {
			list, err = w.jobs.Tables.List(w.opts.Project, dataset).MaxResults(w.listed).PageToken(token).Context(ctx).Do()
			return err
		})
		if err == nil || classOf(err) == fatal {
			return list, err
		}
		w.opts.Logger.Warn("tables listed again", "dataset", dataset, "err", err)
		if waitErr := pause.wait(ctx, classOf(err)); waitErr != nil {
			return nil, unanswered(waitErr, err)
		}
	}
}
