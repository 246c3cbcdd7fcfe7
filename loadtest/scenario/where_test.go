package scenario

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"millrace/internal/config"
)

// The product that is measured enters the same brokers in the same way.
func TestSectionsSayTheSame(t *testing.T) {
	dir := t.TempDir()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]where{
		"plain": open([]string{"a:1", "b:2"}, "http://r:3"),
		"tls":   {Kafka: config.Kafka{Brokers: []string{"a:1"}, TLS: &config.TLS{}}, Registry: config.Registry{URL: "https://r:3", CA: ca}},
		"all": {
			Kafka: config.Kafka{
				Brokers: []string{"a:1"}, TLS: &config.TLS{CA: ca, ServerName: "kafka.local"},
				SASL: &config.SASL{Mechanism: config.MechanismScram256, User: "me", Password: `${a}$$"'<: #`},
			},
			Registry: config.Registry{URL: "http://r:3", User: "me", Password: "$x"},
		},
	} {
		text, err := want.sections()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name+".yaml")
		text += "sources: {a: {kind: postgres, dsn: postgres://x/y, tables: {public.t: {}}}}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := config.Load(path, func(string) (string, bool) { return "", false })
		if err != nil {
			t.Errorf("%s:\n%s\n%v", name, text, err)
			continue
		}
		if diff := cmp.Diff(want, where{Kafka: got.Kafka, Registry: got.Registry}); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}
