package bigquery

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	api "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
	"google.golang.org/grpc"

	"millrace/internal/warehouse/sqlgen"
	"millrace/internal/warehouse/sqltoken"
)

// The suites of warehousetest run in the project that testProject names, in place
// of the fake. Each case has datasets of its own there, which go with it.
const (
	testProject  = "BIGQUERY_TEST_PROJECT"
	testLocation = "BIGQUERY_TEST_LOCATION" // US
)

// conformanceProject is an empty warehouse for one case.
func conformanceProject(t *testing.T) *project {
	t.Helper()
	name := os.Getenv(testProject)
	if name == "" {
		return newProject(t)
	}
	base, err := authorized(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	p := newRenamed(t, Options{
		Project: name, Location: cmp.Or(os.Getenv(testLocation), "US"),
		MaxBytesBilled: 1 << 30, // a case reads some MB
	}, base)
	if _, err := p.w.jobs.Datasets.List(name).MaxResults(1).Context(t.Context()).Do(); err != nil {
		t.Fatalf("%s=%s cannot be reached: %v", testProject, name, err)
	}
	return p
}

// authorized is the way to the service, with credentials.
func authorized(ctx context.Context, project string) (http.RoundTripper, error) {
	base, err := transport.NewTransport(ctx, http.DefaultTransport, option.WithScopes(api.BigqueryScope))
	if err != nil {
		return nil, fmt.Errorf("%s=%s needs credentials: run gcloud auth application-default login, or name a key file in GOOGLE_APPLICATION_CREDENTIALS: %w", testProject, project, err)
	}
	return base, nil
}

// newRenamed is a project whose datasets bear a prefix that no other case has.
func newRenamed(t *testing.T, opts Options, base http.RoundTripper) *project {
	t.Helper()
	r := &renaming{prefix: "millrace_test_" + randomID() + "_", base: base}
	opts.Jobs = append(opts.Jobs, option.WithHTTPClient(&http.Client{Transport: r}))
	opts.Writes = append(opts.Writes,
		option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(r.unary)), option.WithGRPCDialOption(grpc.WithChainStreamInterceptor(r.stream)))
	p := &project{opts: opts, files: fileDefaults()}
	p.open(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, d := range renamedDatasets {
			if err := p.w.jobs.Datasets.Delete(opts.Project, d).DeleteContents(true).Context(ctx).Do(); err != nil && !isStatus(err, http.StatusNotFound) {
				t.Errorf("dataset %s%s stays in %s: %v", r.prefix, d, opts.Project, err)
			}
		}
		if err := p.w.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// renamedDatasets are all datasets of the suites' tables.
var renamedDatasets = []string{"analytics", "core", "core__base", "millrace", "millrace_scratch"}

// renaming puts a prefix before the names of datasets in everything that is asked
// of the service. What it does not know it refuses: it might reach datasets of
// others.
type renaming struct {
	prefix string
	base   http.RoundTripper
}

func (r *renaming) name(dataset string) string {
	if strings.HasPrefix(dataset, r.prefix) {
		return dataset
	}
	return r.prefix + dataset
}

// sql renames the datasets in a text: behind SCHEMA, and before a point.
func (r *renaming) sql(text string) string {
	var b strings.Builder
	tokens := sqltoken.Google(text)
	word := "" // the last, in upper case
	for i, t := range tokens {
		token := text[t.Start:t.End]
		bare := strings.Trim(token, "`")
		named := (t.Kind == sqltoken.Word || t.Kind == sqltoken.Quoted) && slices.Contains(renamedDatasets, bare)
		if named && (word == "SCHEMA" || word == "EXISTS" || i+1 < len(tokens) && text[tokens[i+1].Start] == '.') {
			token = strings.Replace(token, bare, r.name(bare), 1)
		}
		b.WriteString(token)
		if t.Kind == sqltoken.Word {
			word = strings.ToUpper(bare)
		}
	}
	return b.String()
}

// json renames them in a job.
func (r *renaming) json(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = r.json(v[i])
		}
	case map[string]any:
		for name, inner := range v {
			text, ok := inner.(string)
			switch {
			case ok && name == "datasetId":
				v[name] = r.name(text)
			case ok && name == "query":
				v[name] = r.sql(text)
			default:
				v[name] = r.json(inner)
			}
		}
	}
	return v
}

var datasetPath = regexp.MustCompile(`(/datasets/)([^/]+)`)

// RoundTrip implements http.RoundTripper.
func (r *renaming) RoundTrip(in *http.Request) (*http.Response, error) {
	out := in.Clone(in.Context())
	rename := func(path string) string {
		return datasetPath.ReplaceAllStringFunc(path, func(s string) string { return "/datasets/" + r.name(strings.TrimPrefix(s, "/datasets/")) })
	}
	out.URL.Path, out.URL.RawPath = rename(in.URL.Path), rename(in.URL.RawPath)
	if in.Body == nil || in.Body == http.NoBody || in.Header.Get("Content-Range") != "" { // a later part of a file
		return r.base.RoundTrip(out)
	}
	text, err := r.body(in)
	if err := errors.Join(err, in.Body.Close()); err != nil {
		return nil, fmt.Errorf("rename %s %s: %w", in.Method, in.URL.Path, err)
	}
	out.Body, out.ContentLength, out.GetBody = io.NopCloser(bytes.NewReader(text)), int64(len(text)), nil
	return r.base.RoundTrip(out)
}

// body renames a body, or the description of the file that a body brings.
func (r *renaming) body(in *http.Request) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(in.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, err
	case kind == "application/json":
		return r.object(in.Body)
	case kind != "multipart/related":
		return nil, fmt.Errorf("a body of %s cannot be renamed", kind)
	}
	var out bytes.Buffer
	write, read := multipart.NewWriter(&out), multipart.NewReader(in.Body, params["boundary"])
	if err := write.SetBoundary(params["boundary"]); err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		part, err := read.NextPart()
		if errors.Is(err, io.EOF) {
			err := write.Close()
			return out.Bytes(), err
		}
		if err != nil {
			return nil, err
		}
		var text []byte
		if n == 0 {
			text, err = r.object(part)
		} else {
			text, err = io.ReadAll(part)
		}
		to, createErr := write.CreatePart(part.Header)
		if err := errors.Join(err, createErr); err != nil {
			return nil, err
		}
		if _, err := to.Write(text); err != nil {
			return nil, err
		}
	}
}

func (r *renaming) object(from io.Reader) ([]byte, error) {
	decoder := json.NewDecoder(from)
	decoder.UseNumber()
	var body any
	if err := decoder.Decode(&body); err != nil {
		return nil, err
	}
	return json.Marshal(r.json(body))
}

// message renames the dataset in a request of the write path.
func (r *renaming) message(m any) error {
	rename := func(path string) string {
		return datasetPath.ReplaceAllStringFunc(path, func(s string) string { return "/datasets/" + r.name(strings.TrimPrefix(s, "/datasets/")) })
	}
	switch m := m.(type) {
	case *storagepb.CreateWriteStreamRequest:
		m.Parent = rename(m.Parent)
	case *storagepb.GetWriteStreamRequest:
		m.Name = rename(m.Name)
	case *storagepb.FinalizeWriteStreamRequest:
		m.Name = rename(m.Name)
	case *storagepb.AppendRowsRequest:
		m.WriteStream = rename(m.WriteStream)
	default:
		return fmt.Errorf("a %T cannot be renamed", m)
	}
	return nil
}

func (r *renaming) unary(ctx context.Context, method string, in, out any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if err := r.message(in); err != nil {
		return err
	}
	return call(ctx, method, in, out, conn, opts...)
}

func (r *renaming) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, conn, method, opts...)
	return renamedStream{s, r}, err
}

type renamedStream struct {
	grpc.ClientStream
	renaming *renaming
}

// SendMsg implements grpc.ClientStream.
func (s renamedStream) SendMsg(m any) error {
	if err := s.renaming.message(m); err != nil {
		return err
	}
	return s.ClientStream.SendMsg(m)
}

// What a case does in a project of others' datasets stays in its own, which it
// takes away: shown on the fake, where others have datasets of the same names.
func TestCasesInAProjectOfOthers(t *testing.T) {
	p := newProject(t)
	if err := p.w.ddl(t.Context(), sqlgen.Name{}, "CREATE SCHEMA core", "CREATE SCHEMA millrace"); err != nil {
		t.Fatal(err)
	}
	t.Run("case", func(t *testing.T) {
		own := newRenamed(t, fakeOptions(p.fake), http.DefaultTransport)
		c := newConsumer(t, own)
		if err := c.load(t, time.Minute); err != nil {
			t.Fatal(err)
		}
		own.crash(t)
		c.check(t, 1)
		d := newDeriver(t, own, days())
		done, err := d.runner.Commit(t.Context(), d.step(3))
		if err != nil || done.Rows.Inserted != 3 {
			t.Fatalf("%+v, %v", done, err)
		}
	})
	list, err := p.w.jobs.Datasets.List(p.fake.Project()).Context(t.Context()).Do()
	if err != nil || len(list.Datasets) != 2 {
		t.Fatalf("%+v: %v", list, err)
	}
	for _, d := range list.Datasets {
		tables, err := p.w.jobs.Tables.List(p.fake.Project(), d.DatasetReference.DatasetId).Context(t.Context()).Do()
		if err != nil || len(tables.Tables) > 0 {
			t.Errorf("%d tables in %s: %v", len(tables.Tables), d.DatasetReference.DatasetId, err)
		}
	}
}

// Who asks for a project and has no credentials is told.
func TestProjectWithoutCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", t.TempDir()+"/none.json")
	if _, err := authorized(t.Context(), "p"); err == nil || !strings.Contains(err.Error(), "BIGQUERY_TEST_PROJECT=p needs credentials: run gcloud") {
		t.Error(err)
	}
}
