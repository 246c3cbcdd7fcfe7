package bigqueryfake

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"

	bq "google.golang.org/api/bigquery/v2"
)

// upload is a job whose file comes in parts.
type upload struct {
	in   bq.Job
	file []byte
	done *job // with the last part
}

// uploadJob starts a job whose file comes with the request, or tells where its
// parts are to go.
func (f *Fake) uploadJob(r *request) (any, *apiError) {
	switch r.URL.Query().Get("uploadType") {
	case "multipart":
	case "resumable":
		return f.beginUpload(r)
	default:
		return nil, invalid("Invalid upload request")
	}
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, invalid("read the upload: %s", err)
	}
	parts := multipart.NewReader(strings.NewReader(string(r.body)), params["boundary"])
	var bodies [][]byte
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, invalid("read the upload: %s", err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			return nil, invalid("read the upload: %s", err)
		}
		bodies = append(bodies, body)
	}
	if len(bodies) != 2 {
		return nil, invalid("an upload has two parts, not %d", len(bodies))
	}
	var in bq.Job
	r.body = bodies[0]
	if api := r.decode(&in); api != nil {
		return nil, api
	}
	j, api := f.insert(in.JobReference, in.Configuration, bodies[1])
	if api != nil {
		return nil, api
	}
	return f.jobOf(j), nil
}

func (f *Fake) beginUpload(r *request) (any, *apiError) {
	u := &upload{}
	if err := r.decode(&u.in); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id := strconv.FormatInt(f.next(), 10)
	f.uploads[id] = u
	r.header.Set("Location", "http://"+r.Host+r.URL.Path+"/parts/"+id)
	return map[string]any{}, nil
}

// uploadPart takes the next part of a file, or one again whose reply was lost,
// and starts the job behind the last.
func (f *Fake) uploadPart(r *request) (any, *apiError) {
	f.mu.Lock()
	u := f.uploads[r.PathValue("upload")]
	f.mu.Unlock()
	if u == nil {
		return nil, notFound("Upload %s", r.PathValue("upload"))
	}
	if u.done != nil {
		return f.jobOf(u.done), nil
	}
	span, total, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "/")
	from := len(u.file)
	if span != "*" {
		if _, err := fmt.Sscanf(span, "%d-", &from); err != nil {
			ok = false
		}
	}
	if !ok || from > len(u.file) {
		return nil, invalid("Invalid upload: %d bytes are there, and the part is %s", len(u.file), r.Header.Get("Content-Range"))
	}
	u.file = append(u.file[:from], r.body...)
	if total == "*" {
		r.header.Set("X-Http-Status-Code-Override", "308")
		return map[string]any{}, nil
	}
	if total != strconv.Itoa(len(u.file)) {
		return nil, invalid("Invalid upload: %d bytes are there, and the file is said to have %s", len(u.file), total)
	}
	j, err := f.insert(u.in.JobReference, u.in.Configuration, u.file)
	if err != nil {
		return nil, err
	}
	u.done = j
	return f.jobOf(j), nil
}
