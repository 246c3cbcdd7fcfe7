package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
)

// Option is what a client needs to be let in.
type Option = sr.ClientOpt

// Login has the client name its user and the password with every request.
func Login(user, password string) Option { return sr.BasicAuth(user, password) }

// TLS has the client believe and present what the settings say.
func TLS(settings *tls.Config) Option { return sr.DialTLSConfig(settings) }

// RefusedError says that something answers and is no registry, does not let us in,
// or is not believed. Until a person acts, trying again is of no use.
type RefusedError struct {
	Field   string // of the configuration, such as registry.url
	Problem string // a predicate of the field
	Cure    string
	Err     error
}

func (e *RefusedError) Error() string { return e.Field + " " + e.Problem + ": " + e.Cure }

func (e *RefusedError) Unwrap() error { return e.Err }

// Ask asks once whether the registry answers. If a person must act it is a
// *RefusedError; any other error says why there is no answer.
func (c *Client) Ask(ctx context.Context) error {
	_, err := c.sr.SchemaByVersion(ctx, "millrace-asks", -1)
	return explain(err)
}

// explain turns an answer into what a person can do.
func explain(err error) error {
	refused := func(field, problem, cure string) error {
		return &RefusedError{Field: field, Problem: problem, Cure: cure, Err: err}
	}
	var answer *sr.ResponseError
	var unknown x509.UnknownAuthorityError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &answer):
		switch code := answer.StatusCode; {
		case answer.ErrorCode/100 == http.StatusNotFound: // 40401 and the like: a registry that has no such schema
			return nil
		case code == http.StatusUnauthorized || code == http.StatusForbidden:
			return refused("registry", fmt.Sprintf("does not let us in: HTTP %d", code), "write user and password as the registry knows them, and give the user the right to read and write schemas")
		case code < http.StatusInternalServerError && code != http.StatusTooManyRequests:
			return refused("registry.url", fmt.Sprintf("answers, but not as a registry does: HTTP %d", code), "write the registry's URL with its path; that of millrace registry ends in /registry")
		default:
			return fmt.Errorf("HTTP %d: %w", code, err)
		}
	case errors.As(err, &unknown):
		return refused("registry.url", "has a certificate of unknown authorities", "name the authorities' file as registry: {ca: FILE}")
	case errors.As(err, &certificate):
		return refused("registry.url", "has a certificate that is not believed: "+strings.Join(strings.Fields(certificate.Err.Error()), " "),
			"write the host by a name in the certificate, or renew it")
	}
	return err
}
