package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/testkit"
)

const secret = "hunter2-secret"

// loginIs are the options of a broker that knows one user.
func loginIs(mechanism string) []kfake.Opt {
	return []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(mechanism, "me", secret)}
}

// What is written by a transactional producer under TLS and a login is read by a
// member of a group under the same.
func TestTLSAndLogin(t *testing.T) {
	cert := testkit.MakeCertificate(t)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			brokers := testkit.KafkaCluster(t, append(loginIs(mechanism), kfake.TLS(cert.Server()), kfake.NumBrokers(2))...).ListenAddrs()
			c := Cluster{
				Brokers: brokers, TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cert.Pool},
				SASL: &SASL{Mechanism: mechanism, User: "me", Password: secret},
			}
			if err := c.Ask(t.Context()); err != nil {
				t.Fatal(err)
			}
			out := client(t, c, c.TransactionalOpts("p.a", 1<<20)...)
			if err := EnsureTopics(t.Context(), out, c.Data("a", 1, 1)); err != nil {
				t.Fatal(err)
			}
			if err := out.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := out.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("v")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := EndTransaction(t.Context(), out, kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
			in := client(t, c, append(append(c.ConsumerOpts(), c.GroupOpts("g")...), kgo.ConsumeTopics("a"), kgo.FetchMinBytes(1))...)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			fetches := in.PollFetches(ctx)
			in.AllowRebalance()
			if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 {
				t.Fatalf("%d records, %v", fetches.NumRecords(), err)
			}
			var got []string
			if _, err := c.Replay(t.Context(), "a", func(r *kgo.Record) error {
				got = append(got, string(r.Value))
				return nil
			}); err != nil || len(got) != 1 {
				t.Fatalf("replayed %q, %v", got, err)
			}
		})
	}
}

// Whoever is not let in is told so once, with the place and what to do, and without
// the password. What only does not answer is another error: it may answer later.
func TestAsk(t *testing.T) {
	cert, other, elsewhere := testkit.MakeCertificate(t), testkit.MakeCertificate(t), testkit.MakeCertificate(t, "kafka.example")
	plainly := testkit.Kafka(t)
	login := testkit.KafkaCluster(t, loginIs("SCRAM-SHA-256")...).ListenAddrs()
	takesOthers := testkit.KafkaCluster(t, loginIs("PLAIN")...)
	takesOthers.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		takesOthers.KeepControl()
		resp, _ := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		return resp, nil, true
	})
	others := takesOthers.ListenAddrs()
	overTLS := testkit.KafkaCluster(t, kfake.TLS(cert.Server())).ListenAddrs()
	named := testkit.KafkaCluster(t, kfake.TLS(elsewhere.Server())).ListenAddrs()
	known := cert.Server()
	known.ClientAuth, known.ClientCAs = tls.RequireAndVerifyClientCert, cert.Pool
	mutual := testkit.KafkaCluster(t, kfake.TLS(known)).ListenAddrs()
	believe := func(c testkit.Certificate) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Pool}
	}
	presents := believe(cert)
	presents.Certificates = []tls.Certificate{cert.Pair}
	calls := believe(elsewhere)
	calls.ServerName = "kafka.example"
	user := func(mechanism, password string) *SASL {
		return &SASL{Mechanism: mechanism, User: "me", Password: password}
	}
	for name, c := range map[string]struct {
		cluster  Cluster
		field    string // refused; empty: it is not
		contains string // empty: all is well
	}{
		"plain":             {Cluster{Brokers: plainly}, "", ""},
		"second seed":       {Cluster{Brokers: []string{closed(t), plainly[0]}}, "", ""},
		"login":             {Cluster{Brokers: login, SASL: user("SCRAM-SHA-256", secret)}, "", ""},
		"wrong password":    {Cluster{Brokers: refusing(t), SASL: user("SCRAM-SHA-256", secret)}, "kafka.sasl", "is refused by the brokers: user me, SCRAM-SHA-256: correct user and password"},
		"mechanism":         {Cluster{Brokers: others, SASL: user("SCRAM-SHA-512", secret)}, "kafka.sasl", "do not take here: SCRAM-SHA-512"},
		"hung up":           {Cluster{Brokers: login, SASL: user("SCRAM-SHA-256", secret+"x")}, "", "correct kafka.sasl"},
		"no login":          {Cluster{Brokers: login}, "", "write kafka.tls and kafka.sasl"},
		"unknown authority": {Cluster{Brokers: overTLS, TLS: believe(other)}, "kafka.tls", "name the authorities' file"},
		"other name":        {Cluster{Brokers: named, TLS: believe(elsewhere)}, "kafka.tls", "server_name"},
		"server name":       {Cluster{Brokers: named, TLS: calls}, "", ""},
		"no TLS there":      {Cluster{Brokers: plainly, TLS: believe(cert)}, "", "leave kafka.tls out"},
		"no TLS here":       {Cluster{Brokers: overTLS}, "", "write kafka.tls"},
		"certificate":       {Cluster{Brokers: mutual, TLS: presents}, "", ""},
		"no certificate":    {Cluster{Brokers: mutual, TLS: believe(cert)}, "kafka.tls", "present a certificate"},
		"nobody listens":    {Cluster{Brokers: []string{closed(t)}}, "", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			patience := 30 * time.Second
			if name == "no TLS there" { // the broker takes the greeting for the length of a request, and waits for the rest
				patience = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err := c.cluster.Ask(ctx)
			if c.contains == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var refused *RefusedError
			if got := errors.As(err, &refused); got != (c.field != "") || got && refused.Field != c.field {
				t.Fatalf("got %v, want a refusal of %q", err, c.field)
			}
			if !strings.Contains(err.Error(), c.contains) {
				t.Errorf("%q is not in %v", c.contains, err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the password is shown: %v", err)
			}
		})
	}
}

// refusing is a broker that answers a wrong login as Kafka does; the fake itself
// hangs up.
func refusing(t *testing.T) []string {
	t.Helper()
	cluster := testkit.KafkaCluster(t, loginIs("SCRAM-SHA-256")...)
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp, _ := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
		resp.ErrorMessage = kmsg.StringPtr("Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256")
		return resp, nil, true
	})
	return cluster.ListenAddrs()
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}
