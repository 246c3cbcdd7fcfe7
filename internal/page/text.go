package page

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

func newBody(s string) io.Reader { return strings.NewReader(s) }

// Write prints the status for a terminal.
func (s *Status) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "millrace %s, up since %s\n\n", s.Version, s.Started.UTC().Format("2006-01-02 15:04:05 MST"))
	fmt.Fprintln(w, "SOURCE\tKIND\tCOMPLETE\tPOSITION\tSTATE")
	for _, src := range s.Sources {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", src.Source, src.Kind, since(s.Now, src.Complete), shortPosition(src.Position), oneLine(src.state()))
	}
	fmt.Fprintln(w, "\nCORE TABLE\tROWS\tLOAD\tLOADED\tCOMPLETE\tLAG\tSTATE")
	for _, c := range s.Core {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%s\n", c.Table, count(c.Rows), c.Load, since(s.Now, c.LoadedAt), since(s.Now, c.Complete.Time), c.Lag, oneLine(c.state()))
	}
	fmt.Fprintln(w, "\nDERIVED TABLE\tROWS\tRUN\tCOMPUTED\tCOMPLETE\tDIRTY\tSTATE")
	for _, d := range s.Derived {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%s\n", d.Table, count(d.Rows), d.Load, since(s.Now, d.LoadedAt), since(s.Now, d.Complete), d.Dirty, oneLine(d.state()))
	}
	for _, note := range s.Notes {
		fmt.Fprintln(w, "\nnote: "+note)
	}
	return w.Flush()
}

// oneLine is a state as a cell of a table: a warehouse's error may be several
// lines, with a drawing.
func oneLine(state string) string { return strings.Join(strings.Fields(state), " ") }

func count(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// shortPosition is a position without the zeros that make it sort.
func shortPosition(position string) string {
	if position == "" {
		return "-"
	}
	parts := strings.Split(position, "/")
	for i, part := range parts {
		if parts[i] = strings.TrimLeft(part, "0"); parts[i] == "" && part != "" {
			parts[i] = "0"
		}
	}
	return strings.Join(parts, "/")
}

func (s *Source) state() string {
	if s.Halted != "" {
		return "HALTED: " + s.Halted
	}
	var parts []string
	if s.Retrying != "" {
		parts = append(parts, "retrying: "+s.Retrying)
	}
	for _, t := range s.Tables {
		if t.Halted != "" {
			parts = append(parts, "HALTED "+t.Table+": "+t.Halted)
		} else if t.Snapshot != "" {
			parts = append(parts, t.Table+": "+t.Snapshot)
		}
	}
	switch {
	case len(parts) > 0:
	case s.Opening:
		return "opening"
	default:
		return "streaming"
	}
	return strings.Join(parts, "; ")
}

func (c *Core) state() string {
	switch {
	case c.Halted != "":
		return "HALTED: " + c.Halted
	case c.Trouble != "":
		return "trying again: " + c.Trouble
	case c.Letters > 0:
		return fmt.Sprintf("%d dead letters: completeness stands still", c.Letters)
	case c.Load == 0:
		return "nothing loaded yet"
	case c.Snapshot.Running:
		return "snapshot running"
	}
	return "ok"
}

func (d *Derived) state() string {
	if d.Stale != "" {
		return d.progress() + "; " + d.Stale
	}
	return d.progress()
}

func (d *Derived) progress() string {
	switch {
	case d.Error != "" && d.Held > 0:
		return fmt.Sprintf("%d held: %s", d.Held, d.Error)
	case d.Error != "":
		return d.Error
	case d.Waits != "":
		return "waits " + d.Waits
	case d.Dirty > 0:
		return fmt.Sprintf("%d to be computed", d.Dirty) + d.NextRun()
	case d.Gathers:
		return "loads gather" + d.NextRun()
	case !d.Earlier.IsZero():
		return fmt.Sprintf("up to date from %s on, where its windows begin; rows from %s on lie before: to have them, write begin: %[2]s",
			d.Begin.Format(time.DateOnly), d.Earlier.Format(time.DateOnly))
	case d.Outside == 1:
		return "up to date; 1 change lies " + d.beyond()
	case d.Outside > 0:
		return fmt.Sprintf("up to date; %d changes lie %s", d.Outside, d.beyond())
	}
	return "up to date"
}

func (d *Derived) beyond() string {
	return "before " + d.Begin.Format(time.DateOnly) + ", where its windows begin, or after now: see begin in docs/derived-tables.md"
}

// NextRun says when a table is computed that waits, behind what it waits with.
func (d *Derived) NextRun() string {
	if d.Next.IsZero() {
		return ""
	}
	out := ", next run at " + d.Next.UTC().Format("2006-01-02 15:04:05 MST")
	if d.Freshness != "" {
		out += ", freshness " + d.Freshness
	}
	return out
}

// Write prints the result of a query for a terminal.
func (t *Table) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.Columns, "\t"))
	for _, row := range t.Rows {
		for i, v := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if v == nil {
				fmt.Fprint(w, "NULL")
			} else {
				fmt.Fprint(w, clean.Replace(*v))
			}
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

var clean = strings.NewReplacer("\n", `\n`, "\t", `\t`, "\r", `\r`)
