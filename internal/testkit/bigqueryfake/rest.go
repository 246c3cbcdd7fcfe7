package bigqueryfake

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// request is a request of the REST API on its way.
type request struct {
	*http.Request
	method string
	body   []byte
	raw    map[string]json.RawMessage // the members of the body that are there
	header http.Header                // of the reply
}

// decode reads the body.
func (r *request) decode(v any) *apiError {
	if len(r.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		return invalid("Parse Error: %s", err)
	}
	if err := json.Unmarshal(r.body, &r.raw); err != nil {
		return invalid("Parse Error: %s", err)
	}
	return nil
}

// handler answers one method.
type handler func(r *request) (any, *apiError)

func (f *Fake) handler() http.Handler {
	mux := http.NewServeMux()
	const project = "/bigquery/v2/projects/{project}"
	for pattern, m := range map[string]struct {
		name string
		run  handler
	}{
		"POST " + project + "/datasets":                              {"datasets.insert", f.insertDataset},
		"GET " + project + "/datasets":                               {"datasets.list", f.listDatasets},
		"GET " + project + "/datasets/{dataset}":                     {"datasets.get", f.getDataset},
		"PATCH " + project + "/datasets/{dataset}":                   {"datasets.patch", f.patchDataset},
		"DELETE " + project + "/datasets/{dataset}":                  {"datasets.delete", f.deleteDataset},
		"POST " + project + "/datasets/{dataset}/tables":             {"tables.insert", f.insertTable},
		"GET " + project + "/datasets/{dataset}/tables":              {"tables.list", f.listTables},
		"GET " + project + "/datasets/{dataset}/tables/{table}":      {"tables.get", f.getTable},
		"PATCH " + project + "/datasets/{dataset}/tables/{table}":    {"tables.patch", f.patchTable},
		"DELETE " + project + "/datasets/{dataset}/tables/{table}":   {"tables.delete", f.deleteTable},
		"GET " + project + "/datasets/{dataset}/tables/{table}/data": {"tabledata.list", f.listRows},
		"POST " + project + "/jobs":                                  {"jobs.insert", f.insertJob},
		"POST /upload" + project + "/jobs":                           {"jobs.insert", f.uploadJob},
		"POST /upload" + project + "/jobs/parts/{upload}":            {"jobs.upload", f.uploadPart},
		"GET " + project + "/jobs/{job}":                             {"jobs.get", f.getJob},
		"POST " + project + "/jobs/{job}/cancel":                     {"jobs.cancel", f.cancelJob},
		"POST " + project + "/queries":                               {"jobs.query", f.queryJob},
		"GET " + project + "/queries/{job}":                          {"jobs.getQueryResults", f.queryResults},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, m.name, m.run) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		reply(w, nil, refused("%s %s is not in its set", r.Method, r.URL.Path))
	})
	return mux
}

func (f *Fake) serve(w http.ResponseWriter, r *http.Request, method string, run handler) {
	fault := f.faults.at(method)
	switch fault.kind {
	case faultRefuse:
		reply(w, nil, fault.api)
		return
	case faultCut:
		// Unread bytes would reset the connection, and some clients take that for
		// another fault than its end.
		_, _ = io.Copy(io.Discard, r.Body)
		cut(w)
		return
	case faultHang:
		if f.hang(r.Context(), fault) != nil {
			cut(w)
			return
		}
	}
	in := &request{Request: r, method: method, header: w.Header()}
	var err error
	if in.body, err = read(r); err != nil {
		reply(w, nil, invalid("read the request: %s", err))
		return
	}
	if project := r.PathValue("project"); project != f.opts.Project {
		reply(w, nil, notFound("Project %s", project))
		return
	}
	out, api := run(in)
	if fault.kind == faultLost {
		cut(w)
		return
	}
	reply(w, out, api)
}

func read(r *http.Request) ([]byte, error) {
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, err
		}
		in = unzip
	}
	return io.ReadAll(in)
}

// cut closes the connection without an answer.
func cut(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			_ = conn.Close() // it is to be gone
			return
		}
	}
	panic(http.ErrAbortHandler)
}

func reply(w http.ResponseWriter, out any, api *apiError) {
	status := http.StatusOK
	if api != nil {
		status = api.code
		out = map[string]any{"error": map[string]any{
			"code": api.code, "message": api.message, "status": statusName(api.code),
			"errors": []map[string]any{{"message": api.message, "domain": "global", "reason": api.reason}},
		}}
	}
	if out == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	text, err := json.Marshal(out)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(fmt.Sprintf("%q", err))
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone
}

// etag is the text of a definition's version.
func etag(n int64) string { return fmt.Sprintf("%q", fmt.Sprintf("v%d", n)) }

// match refuses a change of a definition that is not what the client has read.
func (r *request) match(n int64) *apiError {
	if want := r.Header.Get("If-Match"); want != "" && strings.Trim(want, `"`) != strings.Trim(etag(n), `"`) {
		return &apiError{http.StatusPreconditionFailed, "conditionNotMet", "Precondition Failed"}
	}
	return nil
}
