package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"millrace/schemas/avro"
)

const (
	contentType = "application/vnd.schemaregistry.v1+json"
	maxBody     = 8 << 20
)

// apiError is an answer of the API that is an error.
type apiError struct {
	status int
	Code   int    `json:"error_code"`
	Text   string `json:"message"`
}

func (e *apiError) Error() string { return e.Text }

// storeError is for trouble with Kafka: the outcome is unknown, and the request
// may be repeated.
func storeError(err error) error {
	return &apiError{http.StatusInternalServerError, 50001, "registry's topic: " + err.Error()}
}

func errSubject(subject string) error {
	return &apiError{http.StatusNotFound, 40401, "subject " + strconv.Quote(subject) + " not found"}
}

func errVersion(subject, version string) error {
	return &apiError{http.StatusNotFound, 40402, "version " + version + " of subject " + strconv.Quote(subject) + " not found"}
}

func errSchema(what string) error {
	return &apiError{http.StatusNotFound, 40403, what + " not found"}
}

type schemaBody struct {
	Schema     string            `json:"schema"`
	SchemaType string            `json:"schemaType"`
	References []json.RawMessage `json:"references"`
}

type idAnswer struct {
	ID int `json:"id"`
}

type versionAnswer struct {
	Subject string `json:"subject"`
	ID      int    `json:"id,omitempty"`
	Version int    `json:"version"`
	Schema  string `json:"schema,omitempty"`
}

type levelAnswer struct {
	Level avro.Level `json:"compatibilityLevel"`
}

type compatibilityBody struct {
	Compatibility string `json:"compatibility"`
}

type compatibleAnswer struct {
	Is       bool     `json:"is_compatible"`
	Messages []string `json:"messages"`
}

func (r *Registry) routes() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, answer func(*state, *http.Request) (any, error)) {
		mux.HandleFunc("GET "+path, r.answer(func(req *http.Request) (any, error) {
			r.mu.RLock()
			defer r.mu.RUnlock()
			return answer(r.state, req)
		}))
	}
	on := func(pattern string, answer func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, r.answer(answer))
	}

	get("/{$}", func(*state, *http.Request) (any, error) { return struct{}{}, nil })
	get("/schemas/types", func(*state, *http.Request) (any, error) { return []string{"AVRO"}, nil })
	get("/schemas/ids/{id}", getByID)
	get("/schemas/ids/{id}/schema", getTextByID)
	get("/schemas/ids/{id}/subjects", getSubjectsByID)
	get("/schemas/ids/{id}/versions", getVersionsByID)
	get("/subjects", func(s *state, req *http.Request) (any, error) { return s.names(withDeleted(req)), nil })
	get("/subjects/{subject}/versions", getVersions)
	get("/subjects/{subject}/versions/{version}", getVersion)
	get("/subjects/{subject}/versions/{version}/schema", getVersionText)
	get("/config", func(s *state, _ *http.Request) (any, error) { return levelAnswer{s.levels[""]}, nil })
	get("/config/{subject}", getLevel)
	get("/mode", func(*state, *http.Request) (any, error) { return modeAnswer(), nil })
	get("/mode/{subject}", func(*state, *http.Request) (any, error) { return modeAnswer(), nil })

	on("POST /subjects/{subject}/versions", r.postVersion)
	on("POST /subjects/{subject}", r.postLookup)
	on("DELETE /subjects/{subject}", r.deleteSubject)
	on("DELETE /subjects/{subject}/versions/{version}", r.deleteVersion)
	on("POST /compatibility/subjects/{subject}/versions", r.postCompatible)
	on("POST /compatibility/subjects/{subject}/versions/{version}", r.postCompatible)
	on("PUT /config", r.putLevel)
	on("PUT /config/{subject}", r.putLevel)
	on("DELETE /config", r.deleteLevel)
	on("DELETE /config/{subject}", r.deleteLevel)
	on("/", func(req *http.Request) (any, error) {
		return nil, &apiError{http.StatusNotFound, http.StatusNotFound, req.Method + " " + req.URL.Path + " is not supported"}
	})
	return mux
}

// text is an answer that is no JSON value of ours, but a schema as it is.
type text string

func (r *Registry) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		req.Body = http.MaxBytesReader(w, req.Body, maxBody)
		v, err := f(req)
		w.Header().Set("Content-Type", contentType)
		if err != nil {
			var e *apiError
			if !errors.As(err, &e) {
				e = &apiError{http.StatusInternalServerError, 50001, err.Error()}
			}
			w.WriteHeader(e.status)
			v = e
		}
		if t, ok := v.(text); ok {
			_, _ = w.Write([]byte(t)) // the client is gone
			return
		}
		_ = json.NewEncoder(w).Encode(v) // the client is gone
	}
}

func readSchema(req *http.Request) (string, error) {
	var b schemaBody
	if err := readBody(req, &b); err != nil {
		return "", err
	}
	if b.SchemaType != "" && b.SchemaType != "AVRO" || len(b.References) > 0 {
		return "", &apiError{http.StatusUnprocessableEntity, 42201, "this registry takes Avro schemas without references only"}
	}
	return b.Schema, nil
}

func readBody(req *http.Request, into any) error {
	if err := json.NewDecoder(req.Body).Decode(into); err != nil {
		return &apiError{http.StatusUnprocessableEntity, 42201, "read request: " + err.Error()}
	}
	return nil
}

func withDeleted(req *http.Request) bool { return req.URL.Query().Get("deleted") == "true" }

// id is the schema id in the path, and its text.
func (s *state) id(req *http.Request) (int, string, error) {
	id, err := strconv.Atoi(req.PathValue("id"))
	if err != nil {
		return 0, "", errSchema("schema " + strconv.Quote(req.PathValue("id")))
	}
	t, ok := s.texts[id]
	if !ok {
		return 0, "", errSchema("schema " + strconv.Itoa(id))
	}
	return id, t, nil
}

// pick returns the live versions that which names: a number, "latest" or "-1",
// or, if it is empty, all. There is at least one.
func (s *state) pick(subject, which string) ([]int, error) {
	live := s.versions(subject, false)
	if len(live) == 0 {
		return nil, errSubject(subject)
	}
	switch which {
	case "":
		return live, nil
	case "latest", "-1":
		return live[len(live)-1:], nil
	}
	n, err := strconv.Atoi(which)
	if err != nil || n < 1 {
		return nil, &apiError{http.StatusUnprocessableEntity, 42202, "version " + strconv.Quote(which) + " is neither latest nor a number from 1"}
	}
	if !slices.Contains(live, n) {
		return nil, errVersion(subject, which)
	}
	return []int{n}, nil
}

func getByID(s *state, req *http.Request) (any, error) {
	_, t, err := s.id(req)
	return schemaBodyOnly{t}, err
}

type schemaBodyOnly struct {
	Schema string `json:"schema"`
}

func getTextByID(s *state, req *http.Request) (any, error) {
	_, t, err := s.id(req)
	return text(t), err
}

func getSubjectsByID(s *state, req *http.Request) (any, error) {
	out := []string{}
	err := s.usages(req, func(subject string, _ int) {
		if !slices.Contains(out, subject) {
			out = append(out, subject)
		}
	})
	return out, err
}

func getVersionsByID(s *state, req *http.Request) (any, error) {
	out := []versionAnswer{}
	err := s.usages(req, func(subject string, n int) { out = append(out, versionAnswer{Subject: subject, Version: n}) })
	return out, err
}

func (s *state) usages(req *http.Request, use func(subject string, n int)) error {
	id, _, err := s.id(req)
	if err != nil {
		return err
	}
	for _, subject := range s.names(withDeleted(req)) {
		for _, n := range s.versions(subject, withDeleted(req)) {
			if s.subjects[subject][n].id == id {
				use(subject, n)
			}
		}
	}
	return nil
}

func getVersions(s *state, req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	versions := s.versions(subject, withDeleted(req))
	if len(versions) == 0 {
		return nil, errSubject(subject)
	}
	return versions, nil
}

func getVersion(s *state, req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	versions, err := s.pick(subject, req.PathValue("version"))
	if err != nil {
		return nil, err
	}
	id := s.subjects[subject][versions[0]].id
	return versionAnswer{subject, id, versions[0], s.texts[id]}, nil
}

func getVersionText(s *state, req *http.Request) (any, error) {
	v, err := getVersion(s, req)
	if err != nil {
		return nil, err
	}
	return text(v.(versionAnswer).Schema), nil //nolint:forcetypeassert // as getVersion says
}

func (r *Registry) postVersion(req *http.Request) (any, error) {
	schema, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	id, err := r.register(req.Context(), req.PathValue("subject"), schema)
	return idAnswer{id}, err
}

func (r *Registry) postLookup(req *http.Request) (any, error) {
	schema, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	normal, err := normalOf(schema)
	if err != nil {
		return nil, err
	}
	subject := req.PathValue("subject")
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.state.versions(subject, false)) == 0 {
		return nil, errSubject(subject)
	}
	n := r.state.find(subject, normal)
	if n == 0 {
		return nil, errSchema("schema under subject " + strconv.Quote(subject))
	}
	id := r.state.subjects[subject][n].id
	return versionAnswer{subject, id, n, r.state.texts[id]}, nil
}

func (r *Registry) deleteSubject(req *http.Request) (any, error) {
	if err := softOnly(req); err != nil {
		return nil, err
	}
	return r.remove(req.Context(), req.PathValue("subject"), "")
}

func (r *Registry) deleteVersion(req *http.Request) (any, error) {
	if err := softOnly(req); err != nil {
		return nil, err
	}
	removed, err := r.remove(req.Context(), req.PathValue("subject"), req.PathValue("version"))
	if err != nil {
		return nil, err
	}
	return removed[0], nil
}

// softOnly refuses to delete for good: events that carry the id may still lie in
// Kafka, and could never be read again.
func softOnly(req *http.Request) error {
	if req.URL.Query().Get("permanent") == "true" {
		return &apiError{http.StatusUnprocessableEntity, 42201, "this registry does not delete schemas for good"}
	}
	return nil
}

func (r *Registry) postCompatible(req *http.Request) (any, error) {
	schema, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	if _, err := normalOf(schema); err != nil {
		return nil, err
	}
	subject, which := req.PathValue("subject"), req.PathValue("version")
	r.mu.RLock()
	defer r.mu.RUnlock()
	versions := r.state.versions(subject, false)
	if which != "" {
		if versions, err = r.state.pick(subject, which); err != nil {
			return nil, err
		}
	}
	if err := r.state.checkAgainst(subject, schema, versions); err != nil {
		return compatibleAnswer{false, []string{err.Error()}}, nil
	}
	return compatibleAnswer{true, []string{}}, nil
}

func getLevel(s *state, req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	level, ok := s.levels[subject]
	if !ok && req.URL.Query().Get("defaultToGlobal") != "true" {
		return nil, &apiError{http.StatusNotFound, 40408, "subject " + strconv.Quote(subject) + " has no compatibility level of its own"}
	}
	if !ok {
		level = s.levels[""]
	}
	return levelAnswer{level}, nil
}

func (r *Registry) putLevel(req *http.Request) (any, error) {
	var b compatibilityBody
	if err := readBody(req, &b); err != nil {
		return nil, err
	}
	level, err := avro.ParseLevel(b.Compatibility)
	if err != nil {
		return nil, &apiError{http.StatusUnprocessableEntity, 42203, err.Error()}
	}
	err = r.change(req.Context(), func(*state) ([]record, error) {
		return []record{configRecord(req.PathValue("subject"), level)}, nil
	})
	return b, err
}

// deleteLevel takes a level back and answers with the one that was.
func (r *Registry) deleteLevel(req *http.Request) (any, error) {
	subject := req.PathValue("subject")
	var was avro.Level
	err := r.change(req.Context(), func(s *state) ([]record, error) {
		level, ok := s.levels[subject]
		if !ok {
			return nil, &apiError{http.StatusNotFound, 40408, "subject " + strconv.Quote(subject) + " has no compatibility level of its own"}
		}
		was = level
		return []record{configRecord(subject, "")}, nil
	})
	return compatibilityBody{string(was)}, err
}

func modeAnswer() any {
	return struct {
		Mode string `json:"mode"`
	}{"READWRITE"}
}
