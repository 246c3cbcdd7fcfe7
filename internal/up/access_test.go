package up

import (
	"bytes"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/config"
	"millrace/internal/invalid"
	"millrace/internal/kafka"
	"millrace/internal/testkit"
	"millrace/schemas/registry"
)

const secret = "hunter2-secret"

// guard lets one user in.
func guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != secret {
			http.Error(w, `{"error_code":401,"message":"Unauthorized"}`, http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// written is a configuration of a source that nobody serves, with more above it.
func written(t *testing.T, more string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "millrace.yaml")
	text := more + "prefix: p\nsources: {a: {kind: postgres, dsn: 'postgres://u@127.0.0.1:1/d', tables: {public.t: {}}}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func passwords(name string) (string, bool) {
	v, ok := map[string]string{"RIGHT": secret, "WRONG": secret + "x"}[name]
	return v, ok
}

// Brokers with TLS and a login, and a registry with both, do for init, check and a
// registry of our own.
func TestEverythingIsEntered(t *testing.T) {
	cert := testkit.MakeCertificate(t)
	brokers := testkit.KafkaCluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "me", secret), kfake.TLS(cert.Server())).ListenAddrs()
	access := "kafka: {brokers: [" + brokers[0] + "], tls: {ca: " + cert.Cert + "}, sasl: {mechanism: SCRAM-SHA-512, user: me, password: '${RIGHT}'}}\n"
	conf, err := config.Load(written(t, access), passwords)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := ClusterOf(conf.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := registry.Open(t.Context(), cluster, registry.DefaultTopic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(schemas.Close)
	served := httptest.NewTLSServer(guard(schemas))
	t.Cleanup(served.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: served.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	access += "registry: {url: '" + served.URL + "', user: me, password: '${RIGHT}', ca: " + ca + "}\n"
	path := written(t, access)
	if conf, err = config.Load(path, passwords); err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	var made []string
	err = Init(t.Context(), conf, slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})), func(thing Thing) { made = append(made, thing.Name) })
	if err != nil || !strings.Contains(strings.Join(made, "\n"), "topic p.a.public.t\n") || !strings.Contains(strings.Join(made, "\n"), "schema of p.loads\n") {
		t.Errorf("made %q, %v", made, err)
	}
	if strings.Contains(logged.String(), secret) {
		t.Errorf("the password is logged:\n%s", logged.String())
	}
	checked, err := Check(t.Context(), CheckOptions{Config: path, Env: passwords})
	if err != nil || len(checked.Unchecked) != 1 || !strings.Contains(checked.Unchecked[0], "source a") {
		t.Errorf("checked %+v, %v", checked, err)
	}
}

// A wrong password is a fault of the check, and ends a start at once.
func TestWrongPassword(t *testing.T) {
	cluster := testkit.KafkaCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "me", secret))
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) { // as Kafka answers; the fake hangs up
		cluster.KeepControl()
		resp, _ := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		return resp, nil, true
	})
	served := httptest.NewServer(guard(http.NotFoundHandler()))
	t.Cleanup(served.Close)
	path := written(t, "kafka:\n  brokers: ["+cluster.ListenAddrs()[0]+"]\n  sasl: {mechanism: PLAIN, user: me, password: '${WRONG}'}\nregistry: {url: '"+served.URL+"', user: me, password: '${WRONG}'}\nhttp: 127.0.0.1:0\n")
	_, err := Check(t.Context(), CheckOptions{Config: path, Env: passwords})
	var faults invalid.Faults
	if !errors.As(err, &faults) || len(faults) != 2 || faults[0].Line != 3 || faults[1].Line != 4 ||
		!strings.Contains(err.Error(), "kafka.sasl: is refused by the brokers: user me, PLAIN; correct user and password") ||
		!strings.Contains(err.Error(), "registry: does not let us in: HTTP 401; write user and password") || strings.Contains(err.Error(), secret) {
		t.Errorf("check says %v", err)
	}
	conf, err := config.Load(path, passwords)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	err = Run(t.Context(), Options{Config: conf, Parts: Parts{Produce: true}, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	var refused *kafka.RefusedError
	if !errors.As(err, &refused) || strings.Count(err.Error(), "\n") > 0 || strings.Contains(err.Error()+logged.String(), secret) {
		t.Errorf("the start ends with %v, and logs\n%s", err, logged.String())
	}
	if err := Init(t.Context(), conf, slog.New(slog.DiscardHandler), func(Thing) {}); !errors.As(err, &refused) {
		t.Errorf("init ends with %v", err)
	}
}

// What does not answer is named, with the reason, and is no fault: it may be out of
// reach from here only.
func TestCheckNamesWhatDoesNotAnswer(t *testing.T) {
	path := written(t, "kafka: {brokers: ['127.0.0.1:1']}\nregistry: {url: 'http://127.0.0.1:1'}\n")
	checked, err := Check(t.Context(), CheckOptions{Config: path, Env: passwords})
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(checked.Unchecked, "\n")
	for _, want := range []string{"Kafka: it could not be asked: 127.0.0.1:1: ", "the registry: it could not be asked: ", "connection refused"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
}
