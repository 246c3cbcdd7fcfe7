package registry_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"millrace/schemas/registry"
)

const secret = "hunter2-secret"

// guarded is a registry that knows one user, and no schema.
func guarded(w http.ResponseWriter, r *http.Request) {
	user, password, ok := r.BasicAuth()
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	switch {
	case !ok || user != "me" || password != secret:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error_code":401,"message":"Unauthorized"}`))
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"error_code":40401,"message":"Subject not found."}`))
	}
}

// Whoever is not let in is told so with the place and what to do; what only does not
// answer may answer later.
func TestAsk(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(guarded))
	defer plain.Close()
	overTLS := httptest.NewTLSServer(http.HandlerFunc(guarded))
	defer overTLS.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "busy", http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	pool := x509.NewCertPool()
	pool.AddCert(overTLS.Certificate())
	believe := registry.TLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool})
	wrongName := registry.TLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: "other.test"})
	login := registry.Login("me", secret)
	for name, c := range map[string]struct {
		url      string
		opts     []registry.Option
		field    string // refused; empty: it is not
		contains string // empty: all is well
	}{
		"login":             {plain.URL, []registry.Option{login}, "", ""},
		"login over TLS":    {overTLS.URL, []registry.Option{login, believe}, "", ""},
		"no login":          {plain.URL, nil, "registry", "does not let us in: HTTP 401"},
		"wrong password":    {plain.URL, []registry.Option{registry.Login("me", secret+"x")}, "registry", "write user and password"},
		"unknown authority": {overTLS.URL, []registry.Option{login}, "registry.url", "name the authorities' file as registry: {ca: FILE}"},
		"other name":        {overTLS.URL, []registry.Option{login, wrongName}, "registry.url", "not believed"},
		"no registry":       {web.URL, nil, "registry.url", "answers, but not as a registry does: HTTP 404"},
		"busy":              {busy.URL, nil, "", "503"},
		"nobody":            {gone.URL, nil, "", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := registry.New(c.url, c.opts...)
			if err != nil {
				t.Fatal(err)
			}
			err = client.Ask(t.Context())
			if c.contains == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var refused *registry.RefusedError
			if got := errors.As(err, &refused); got != (c.field != "") || got && refused.Field != c.field {
				t.Fatalf("got %v, want a refusal of %q", err, c.field)
			}
			if !strings.Contains(err.Error(), c.contains) || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, want %q in it, and no password", err, c.contains)
			}
		})
	}
}
