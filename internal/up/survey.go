package up

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/consumers"
	"millrace/deriver/graph"
	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/internal/kafka"
	"millrace/producers"
	"millrace/schemas"
)

// surveyPatience is how long a check waits for one source.
const surveyPatience = 5 * time.Second

// survey asks every source at once whether it can be captured as configured.
// It returns the tables that can, by topic. A source that does not answer is
// named as not checked.
func (c *Checked) survey(ctx context.Context, conf *config.Config) (map[string]*schemas.Table, invalid.Faults) {
	names := slices.Sorted(maps.Keys(conf.Sources))
	answers := make([]sourceAnswer, len(names))
	var group errgroup.Group
	for i, name := range names {
		group.Go(func() error {
			answers[i] = ask(ctx, conf, name)
			return nil
		})
	}
	_ = group.Wait() // what went wrong is in the answers
	var faults invalid.Faults
	tables := map[string]*schemas.Table{}
	c.Sources.Of = len(names)
	for i, a := range answers {
		faults, c.meant = append(faults, a.faults...), append(c.meant, a.meant...)
		c.Tables.Of += len(conf.Sources[names[i]].Tables)
		if a.unchecked != "" {
			c.Unchecked = append(c.Unchecked, a.unchecked)
		} else {
			c.Sources.Asked++
			c.Tables.Asked += len(conf.Sources[names[i]].Tables)
		}
		for _, t := range a.tables {
			tables[t.Topic] = t
			note, found := upsertable(conf, names[i], t)
			if faults = append(faults, found...); note != "" {
				c.Notes = append(c.Notes, note)
			}
			if id := t.Schema + "." + t.Name; len(t.Key) == 0 {
				c.Notes = append(c.Notes, fmt.Sprintf("%s of %s has no key: %s is append-only, an update or a delete of its rows goes to the dead letters",
					id, names[i], conf.Sources[names[i]].Tables[id].Core))
			}
		}
	}
	return tables, faults
}

type sourceAnswer struct {
	tables    []*schemas.Table
	faults    invalid.Faults
	unchecked string
	meant     []graph.Table
}

func ask(ctx context.Context, conf *config.Config, name string) (a sourceAnswer) {
	path := "sources." + name
	fault := func(path, problem, cure string) { a.faults = append(a.faults, conf.Fault(path, problem, cure)) }
	source := conf.Sources[name]
	section, err := sources(source.Kind, source)
	if err != nil {
		fault(path, oneLine(err), "correct it")
		return a
	}
	surveyor, ok := section.(producers.Surveyor)
	if !ok {
		a.unchecked = "source " + name + ": nothing can be asked of kind " + source.Kind
		return a
	}
	ctx, cancel := context.WithTimeout(ctx, surveyPatience)
	defer cancel()
	names := kafka.Names{Prefix: conf.Prefix}
	survey, err := surveyor.Survey(ctx, producers.Env{
		Source: name, Prefix: conf.Prefix, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Topic: func(schema, table string, generation int) string {
			topic, err := names.Table(kafka.TopicName{Source: name, Schema: schema, Table: table, Generation: generation})
			if err != nil {
				fault(path+".tables."+schema+"."+table, oneLine(err), "capture it under a shorter name, or leave it out")
			}
			return topic
		},
	})
	if err != nil {
		a.unchecked = fmt.Sprintf("source %s and its tables: it could not be asked: %s", name, oneLine(err))
		return a
	}
	for _, h := range survey.Faults {
		at := path + ".dsn"
		if h.Table != "" {
			at = path + ".tables." + h.Table
		}
		fault(at, oneLine(h.Err), h.Hint)
	}
	for id, near := range survey.Meant {
		_, name, _ := strings.Cut(id, ".")
		_, right, _ := strings.Cut(near, ".")
		if t := source.Tables[id]; t.Core == "core."+name { // with as: its core table is called as it should be
			a.meant = append(a.meant, graph.Table{Name: "core." + right, EventTimes: t.EventTime})
		}
	}
	a.tables = survey.Tables
	for _, t := range a.tables {
		id := t.Schema + "." + t.Name
		for _, column := range source.Tables[id].EventTime {
			if problem, cure := consumers.EventTimeFault(t.Columns, column); problem != "" {
				fault(path+".tables."+id+".event_time", problem, cure)
			}
		}
	}
	return a
}

// oneLine is an error as a part of a line.
func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
}
