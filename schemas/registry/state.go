package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"millrace/schemas/avro"
)

// The records of the topic are those that Confluent's registry writes. A
// version is rewritten with deleted set, and nothing else of it ever changes, so
// compaction keeps every id.
const (
	keySchema = "SCHEMA"
	keyConfig = "CONFIG"
)

type recordKey struct {
	KeyType string  `json:"keytype"`
	Subject *string `json:"subject"` // nil in CONFIG: of all subjects
	Version int     `json:"version,omitempty"`
	Magic   int     `json:"magic"`
}

type schemaValue struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
	ID      int    `json:"id"`
	Schema  string `json:"schema"`
	Deleted bool   `json:"deleted"`
}

type configValue struct {
	Level avro.Level `json:"compatibilityLevel"`
}

// record is one change of the state as it stands in the topic. A nil value
// takes a subject's level back.
type record struct{ key, value []byte }

func schemaRecord(v schemaValue) record {
	return record{mustJSON(recordKey{keySchema, &v.Subject, v.Version, 1}), mustJSON(v)}
}

func configRecord(subject string, level avro.Level) record {
	key := recordKey{KeyType: keyConfig}
	if subject != "" {
		key.Subject = &subject
	}
	if level == "" {
		return record{key: mustJSON(key)}
	}
	return record{mustJSON(key), mustJSON(configValue{level})}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return b
}

// state is what the records of the topic say, in whatever order compaction has
// left them.
type state struct {
	texts    map[int]string
	normals  map[string]int // avro.Normal to id
	subjects map[string]map[int]version
	levels   map[string]avro.Level // "" is that of all subjects
}

type version struct {
	id      int
	deleted bool
}

func newState() *state {
	return &state{
		texts: make(map[int]string), normals: make(map[string]int),
		subjects: make(map[string]map[int]version), levels: map[string]avro.Level{"": avro.Backward},
	}
}

// apply takes a record in. The same record may come again. One that contradicts
// an earlier one is an error: somebody else writes the topic.
func (s *state) apply(r record) error {
	var key recordKey
	if err := json.Unmarshal(r.key, &key); err != nil {
		return fmt.Errorf("read key of registry record: %w", err)
	}
	switch key.KeyType {
	case keySchema:
		var v schemaValue
		if err := json.Unmarshal(r.value, &v); err != nil {
			return fmt.Errorf("read schema record %s: %w", r.key, err)
		}
		return s.applySchema(v)
	case keyConfig:
		return s.applyConfig(key.Subject, r.value)
	}
	return fmt.Errorf("registry record of the unknown type %q: another registry writes the topic", key.KeyType)
}

func (s *state) applySchema(v schemaValue) error {
	normal, err := avro.Normal(v.Schema)
	if err != nil {
		return fmt.Errorf("read schema %d: %w", v.ID, err)
	}
	if v.ID < 1 || v.Version < 1 {
		return fmt.Errorf("schema %d of %s has version %d: both count from 1", v.ID, v.Subject, v.Version)
	}
	if text, ok := s.texts[v.ID]; ok && text != v.Schema {
		return fmt.Errorf("schema id %d has two meanings: another registry writes the topic", v.ID)
	}
	if old, ok := s.subjects[v.Subject][v.Version]; ok && old.id != v.ID {
		return fmt.Errorf("version %d of %s is schema %d and %d: another registry writes the topic", v.Version, v.Subject, old.id, v.ID)
	}
	s.texts[v.ID] = v.Schema
	if _, ok := s.normals[normal]; !ok {
		s.normals[normal] = v.ID
	}
	if s.subjects[v.Subject] == nil {
		s.subjects[v.Subject] = make(map[int]version)
	}
	s.subjects[v.Subject][v.Version] = version{v.ID, v.Deleted}
	return nil
}

func (s *state) applyConfig(subject *string, value []byte) error {
	name := ""
	if subject != nil {
		name = *subject
	}
	if value == nil {
		if name == "" {
			s.levels[""] = avro.Backward
		} else {
			delete(s.levels, name)
		}
		return nil
	}
	var v configValue
	if err := json.Unmarshal(value, &v); err != nil {
		return fmt.Errorf("read level of %q: %w", name, err)
	}
	level, err := avro.ParseLevel(string(v.Level))
	if err != nil {
		return fmt.Errorf("read level of %q: %w", name, err)
	}
	s.levels[name] = level
	return nil
}

// has reports whether the record's effect is in the state.
func (s *state) has(r record) bool {
	var key recordKey
	if json.Unmarshal(r.key, &key) != nil {
		return false
	}
	if key.KeyType == keySchema {
		var v schemaValue
		if json.Unmarshal(r.value, &v) != nil {
			return false
		}
		return s.subjects[v.Subject][v.Version] == version{v.ID, v.Deleted}
	}
	name := ""
	if key.Subject != nil {
		name = *key.Subject
	}
	if r.value == nil {
		_, ok := s.levels[name]
		return !ok || name == "" && s.levels[""] == avro.Backward
	}
	var v configValue
	return json.Unmarshal(r.value, &v) == nil && s.levels[name] == v.Level
}

func (s *state) level(subject string) avro.Level {
	if level, ok := s.levels[subject]; ok {
		return level
	}
	return s.levels[""]
}

// versions are the numbers of the subject's versions, rising.
func (s *state) versions(subject string, deleted bool) []int {
	var out []int
	for n, v := range s.subjects[subject] {
		if !v.deleted || deleted {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// names are the subjects that have a version, sorted.
func (s *state) names(deleted bool) []string {
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.subjects)) {
		if len(s.versions(name, deleted)) > 0 {
			out = append(out, name)
		}
	}
	return out
}

// find returns the live version of the subject that is this schema, the newest
// if there are several, or 0.
func (s *state) find(subject, normal string) int {
	id, ok := s.normals[normal]
	if !ok {
		return 0
	}
	versions := s.versions(subject, false)
	for _, n := range slices.Backward(versions) {
		if s.subjects[subject][n].id == id {
			return n
		}
	}
	return 0
}

// next is the record that makes a schema the subject's newest version. Ids have
// no gaps: every id has a record that compaction keeps.
func (s *state) next(subject, schema, normal string) schemaValue {
	v := schemaValue{Subject: subject, Version: 1, Schema: schema}
	if all := s.versions(subject, true); len(all) > 0 {
		v.Version = all[len(all)-1] + 1
	}
	id, ok := s.normals[normal]
	if !ok {
		v.ID = len(s.texts) + 1
		return v
	}
	v.ID, v.Schema = id, s.texts[id]
	return v
}

// check asks whether the subject may take the schema as its newest version.
func (s *state) check(subject, schema string) error {
	return s.checkAgainst(subject, schema, s.versions(subject, false))
}

func (s *state) checkAgainst(subject, schema string, versions []int) error {
	texts := make([]string, len(versions))
	for i, n := range versions {
		texts[i] = s.texts[s.subjects[subject][n].id]
	}
	err := avro.Compatible(s.level(subject), texts, schema)
	var incompatible *avro.IncompatibleError
	if errors.As(err, &incompatible) {
		incompatible.Version = versions[incompatible.Version-1] // deleted ones count too
	}
	return err
}
