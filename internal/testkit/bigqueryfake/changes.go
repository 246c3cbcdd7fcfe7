package bigqueryfake

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Changes by key: the greatest sequence number of a key wins, and of equal ones
// the last. They are joined with the table at once, as a query sees them that
// merges when it runs.

// keptDeletes is how long the service knows the sequence number of a delete. An
// older change that comes later than that makes the row again.
const keptDeletes = 48 * time.Hour

// keyed is the last change of a key.
type keyed struct {
	sequence string
	gone     time.Time // when it was deleted; zero: it was not
}

// changesOf is what a table knows of its changes by key. Fake.mu guards it.
type changesOf struct {
	byKey map[string]keyed
	// numbered says whether its changes have sequence numbers: none may have one,
	// or all must.
	numbered bool
}

// applyChanges joins rows with the table by its key.
func (c *connection) applyChanges(ctx context.Context, rows [][]value) *status.Status {
	t := c.stream.table
	keys, latest, fault := c.winners(t, rows)
	if fault != nil {
		return fault
	}
	if err := c.replace(ctx, t, c.shape.columns, keys, latest); err != nil {
		return status.New(codes.Internal, err.Error())
	}
	return nil
}

// winners are the rows that are newer than what the table has, by their keys. All
// of a request is refused if one of its rows is.
func (c *connection) winners(t *table, rows [][]value) (keys []int, latest map[string][]value, fault *status.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range t.key {
		keys = append(keys, t.index(name))
	}
	numbered := c.shape.sequence >= 0
	if len(t.changes.byKey) > 0 && t.changes.numbered != numbered {
		return nil, nil, status.Newf(codes.InvalidArgument, "rows with and without %s cannot be mixed in one table", changeSequence)
	}
	sequences := make([]string, len(rows))
	for i, row := range rows {
		if kind, _ := row[c.shape.change].(string); kind != "UPSERT" && kind != "DELETE" {
			return nil, nil, status.Newf(codes.InvalidArgument, "%s %q is neither UPSERT nor DELETE", changeType, kind)
		}
		if !numbered {
			continue
		}
		text, _ := row[c.shape.sequence].(string)
		var err error
		if sequences[i], err = sequenceOf(text); err != nil {
			return nil, nil, status.New(codes.InvalidArgument, err.Error())
		}
	}
	if t.changes.byKey == nil {
		t.changes.byKey = map[string]keyed{}
	}
	t.changes.numbered = numbered
	latest = map[string][]value{}
	for i, row := range rows {
		key := keyText(row, keys)
		have, ok := t.changes.byKey[key]
		forgotten := !have.gone.IsZero() && !have.gone.Add(keptDeletes).After(c.now())
		if ok && !forgotten && have.sequence > sequences[i] {
			continue
		}
		now := keyed{sequence: sequences[i]}
		if row[c.shape.change] == "DELETE" {
			now.gone = c.now()
		}
		t.changes.byKey[key], latest[key] = now, row
	}
	return keys, latest, nil
}

func keyText(row []value, keys []int) string {
	var b strings.Builder
	for _, i := range keys {
		fmt.Fprintf(&b, "%T:%q,", row[i], fmt.Sprint(row[i]))
	}
	return b.String()
}

// replace puts rows in the place of those with their keys, all at once: no reader
// sees the one gone and the other not there yet.
func (f *Fake) replace(ctx context.Context, t *table, columns []column, keys []int, rows map[string][]value) (err error) {
	f.ddl.RLock()
	defer f.ddl.RUnlock()
	f.mu.Lock()
	now := append([]column(nil), t.columns...)
	t.streamed = f.now()
	f.mu.Unlock()
	conn, err := f.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }() // with what is left of its transaction
	if _, err := conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		return err
	}
	var live [][]value
	for _, row := range rows {
		var where []string
		var args []any
		for _, i := range keys {
			_, expr := carried(columns[i].typ, "CAST($"+strconv.Itoa(len(args)+1)+" AS "+carrier(columns[i].typ)+")")
			where = append(where, quoteName(columns[i].name)+" IS NOT DISTINCT FROM "+expr)
			args = append(args, row[i])
		}
		if _, err := conn.ExecContext(ctx, "DELETE FROM "+t.physical+" WHERE "+strings.Join(where, " AND "), args...); err != nil {
			return err
		}
		if row[len(columns)] == "UPSERT" {
			live = append(live, row[:len(columns)])
		}
	}
	if len(live) > 0 {
		if err := conn.Raw(func(raw any) error { return appendTo(raw.(driver.Conn), t.physical, now, live) }); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// sequenceOf brings a sequence number into a form whose order is its own: up to
// four sections of up to 16 hexadecimal digits.
func sequenceOf(text string) (string, error) {
	sections := strings.Split(text, "/")
	if text == "" || len(sections) > 4 {
		return "", fmt.Errorf("invalid %s %q", changeSequence, text)
	}
	var out bytes.Buffer
	for _, section := range sections {
		padded := strings.Repeat("0", max(0, 16-len(section))) + section
		raw, err := hex.DecodeString(padded)
		if err != nil || section == "" || len(section) > 16 {
			return "", fmt.Errorf("invalid %s %q", changeSequence, text)
		}
		out.Write(raw)
	}
	return out.String(), nil
}
