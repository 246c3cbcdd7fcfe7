package mongodb

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"millrace/producers"
)

var _ producers.Surveyor = (*Config)(nil)

// Survey implements producers.Surveyor. It only reads.
func (c *Config) Survey(ctx context.Context, env producers.Env) (_ *producers.Survey, err error) {
	client, err := mongo.Connect(c.options())
	if err != nil {
		return nil, err
	}
	s := newSource(c, env, client)
	s.epoch = 1
	defer func() { err = errors.Join(err, s.Close()) }()
	var out producers.Survey
	var faults []error
	if s.server, faults, err = s.inspect(ctx); err != nil {
		return &out, out.Add("", err) // nothing more can be asked
	}
	for _, fault := range faults {
		if err := out.Add("", fault); err != nil {
			return nil, err
		}
	}
	if len(faults) == 0 {
		if err := s.mayWatch(ctx); err != nil {
			if err := out.Add("", err); err != nil {
				return nil, err
			}
		}
	}
	for _, cfg := range c.Tables {
		t := &tracked{cfg: cfg}
		t.db, t.collection, _ = cfg.split()
		seen, err := s.present(ctx, t)
		if err == nil && !seen.there {
			err = s.absent(ctx, &out, t)
		}
		if err != nil {
			if err := out.Add(cfg.Name, err); err != nil {
				return nil, err
			}
			continue
		}
		promoted, err := s.sample(ctx, t)
		if err != nil {
			if err := out.Add(cfg.Name, err); err != nil {
				return nil, err
			}
			continue
		}
		s.take(t, promoted)
		out.Tables = append(out.Tables, t.table)
	}
	return &out, nil
}

// mayWatch opens the change stream as Open would, and closes it.
func (s *source) mayWatch(ctx context.Context) error {
	now, err := s.clock(ctx)
	if err != nil {
		return err
	}
	watched, err := openStream(ctx, s.client, s.cfg, s.server, from{time: now.applied})
	if err == nil {
		watched.close()
	}
	return err
}

// absent is the fault of a collection that is not there, with the name that was
// meant. A source captures it nonetheless, but the name may be wrong.
func (s *source) absent(ctx context.Context, out *producers.Survey, t *tracked) error {
	h := t.haltError(errors.New("the collection is not there: its table stays empty until it is made"), t.creation())
	reply, failed := run(ctx, s.client.Database(t.db), bson.D{
		{Key: "listCollections", Value: 1}, {Key: "nameOnly", Value: true}, {Key: "authorizedCollections", Value: true},
	})
	if failed != nil {
		return h // the guess is only a help
	}
	var there, configured []string
	for e := fields(lookup(lookup(reply, "cursor").data, "firstBatch").data); e.next(); {
		there = append(there, t.db+"."+string(lookup(e.val.data, "name").text()))
	}
	for _, t := range s.cfg.Tables {
		configured = append(configured, t.Name)
	}
	h.Hint = out.Guess(t.id(), there, configured) + h.Hint
	return h
}
