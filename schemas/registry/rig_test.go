package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"millrace/internal/kafka"
	"millrace/internal/testkit"
)

// bench is a registry over a Kafka of its own, and a server in front of it.
type bench struct {
	t       *testing.T
	kafka   *kfake.Cluster
	cluster kafka.Cluster
	reg     *Registry
	url     string
	stop    func()
}

func newBench(t *testing.T, opts ...kgo.Opt) *bench {
	t.Helper()
	b := &bench{t: t, kafka: testkit.KafkaCluster(t)}
	b.cluster = kafka.Cluster{Brokers: b.kafka.ListenAddrs(), Embedded: true, Client: opts}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *bench) start() {
	b.t.Helper()
	reg, err := Open(b.t.Context(), b.cluster, DefaultTopic)
	if err != nil {
		b.t.Fatal(err)
	}
	srv := httptest.NewServer(reg)
	b.reg, b.url = reg, srv.URL
	b.stop = func() { srv.Close(); reg.Close() }
}

func (b *bench) restart() {
	b.t.Helper()
	b.stop()
	b.start()
}

func (b *bench) client() *sr.Client {
	b.t.Helper()
	cl, err := sr.NewClient(sr.URLs(b.url))
	if err != nil {
		b.t.Fatal(err)
	}
	return cl
}

// call makes a request and returns status and answer.
func (b *bench) call(method, path, body string) (int, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(res.Body); err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(out.String())
}

func (b *bench) register(subject, schema string) (int, string) {
	b.t.Helper()
	body, err := json.Marshal(sr.Schema{Schema: schema})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.call("POST", "/subjects/"+subject+"/versions", string(body))
}

// mustRegister registers and returns the id.
func (b *bench) mustRegister(subject, schema string) int {
	b.t.Helper()
	status, answer := b.register(subject, schema)
	var got idAnswer
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != 200 {
		b.t.Fatalf("register %s: %d %s", subject, status, answer)
	}
	return got.ID
}

// numbered is a schema; two of different n are different and compatible.
func numbered(n int) string {
	return fmt.Sprintf(`{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"f%d","type":["null","long"],"default":null}]}`, n)
}

const stranger = `{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}`
