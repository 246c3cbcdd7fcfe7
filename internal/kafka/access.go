package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// SASL is a login.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string
	Password  string
}

// access are the options that let a client in.
func (c Cluster) access() (opts []kgo.Opt) {
	if c.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(c.SASL.mechanism()))
	}
	return opts
}

func (s SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()
	}
	return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()
}

// RefusedError says that the brokers answer and do not let us in, or we do not
// believe them. Until a person acts, trying again is of no use.
type RefusedError struct {
	Field   string // of the configuration, such as kafka.sasl
	Problem string // a predicate of the field
	Cure    string
	Err     error
}

func (e *RefusedError) Error() string { return e.Field + " " + e.Problem + ": " + e.Cure }

func (e *RefusedError) Unwrap() error { return e.Err }

// Ask asks the cluster for its brokers, and each of them whether it answers under
// the name that it gives itself. If a person must act it is a *RefusedError; any
// other error says why there is no answer, and what that may come from.
func (c Cluster) Ask(ctx context.Context) error {
	opts := append(c.ClientOpts("ask", nil, nil), kgo.RequestRetries(2*len(c.Brokers)), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("make a Kafka client: %w", err)
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none, rather than all
	answer, err := req.RequestWith(ctx, cl)
	if err != nil {
		return c.explain(err, strings.Join(c.Brokers, ", "))
	}
	for _, b := range answer.Brokers {
		if _, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl.Broker(int(b.NodeID))); err != nil {
			at := net.JoinHostPort(b.Host, fmt.Sprint(b.Port))
			return c.explain(err, fmt.Sprintf("%s, as broker %d calls itself (advertised.listeners)", at, b.NodeID))
		}
	}
	return nil
}

// explain turns what a client says into what a person can do.
func (c Cluster) explain(err error, at string) error {
	refused := func(field, problem, cure string) error {
		return &RefusedError{Field: field, Problem: problem, Cure: cure, Err: err}
	}
	var unknown x509.UnknownAuthorityError
	var certificate *tls.CertificateVerificationError
	var host x509.HostnameError
	var op *net.OpError
	var slow net.Error
	var header tls.RecordHeaderError
	var early *kgo.ErrFirstReadEOF
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return refused("kafka.sasl", fmt.Sprintf("is refused by the brokers: user %s, %s", c.SASL.User, c.SASL.Mechanism),
			"correct user and password, or the mechanism under which the user was made")
	case errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return refused("kafka.sasl", fmt.Sprintf("names a mechanism that the brokers do not take here: %s", c.SASL.Mechanism),
			"write one that the brokers' sasl.enabled.mechanisms names, or the port of a listener with SASL")
	case errors.As(err, &host):
		return refused("kafka.tls", "calls "+at+": "+oneLine(host), "write brokers by the names in their certificate, or that name as server_name")
	case errors.As(err, &unknown):
		return refused("kafka.tls", "does not know who signed the certificate of "+at, "name the authorities' file as tls: {ca: FILE}")
	case errors.As(err, &certificate):
		return refused("kafka.tls", "does not believe the certificate of "+at+": "+oneLine(certificate.Err), "renew the brokers' certificate, or correct this machine's clock")
	case errors.As(err, &header):
		return refused("kafka.tls", "is set, and "+at+" does not speak TLS", "leave tls out, or name the port of a listener with TLS")
	case errors.As(err, &op) && op.Op == "remote error": // what the other side says when it ends a handshake
		return refused("kafka.tls", "is refused by "+at+": "+oneLine(op.Err), "present a certificate that the brokers know, as tls: {cert: FILE, key: FILE}")
	case errors.As(err, &early), errors.Is(err, io.EOF):
		return fmt.Errorf("%s ends the connection at once: %s: %w", at, c.missing(), err)
	case c.TLS != nil && (errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()):
		return fmt.Errorf("%s does not answer in time; if it has no TLS, leave kafka.tls out: %w", at, err)
	}
	return fmt.Errorf("%s: %w", at, err)
}

// missing is what a broker that hangs up may want.
func (c Cluster) missing() string {
	switch {
	case c.TLS == nil && c.SASL == nil:
		return "if it wants TLS or a login, write kafka.tls and kafka.sasl"
	case c.TLS == nil:
		return "if it wants TLS, write kafka.tls: true; if the login may be wrong, correct kafka.sasl"
	case c.SASL == nil:
		return "if it wants a login, write kafka.sasl; if it has no TLS, leave kafka.tls out"
	}
	return "if it has no TLS, leave kafka.tls out; if the login may be wrong, correct kafka.sasl"
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
