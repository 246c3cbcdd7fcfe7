package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Kafka says where the topics are, and how their brokers are entered.
type Kafka struct {
	Brokers []string // host:port; empty: the embedded broker
	TLS     *TLS     // nil: the brokers are spoken to in the clear
	SASL    *SASL    // nil: without a login
}

// TLS says whom to believe, and who we are. Its zero value believes the system's
// authorities and presents no certificate.
type TLS struct {
	CA         string // file of the authorities to believe in place of the system's
	Cert, Key  string // files of the certificate that is presented, and of its key
	ServerName string // what the brokers' certificates must name; empty: the host that is called
}

// SASL is a login at the brokers.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string
	Password  string // a secret
}

// The mechanisms of SASL.
const (
	MechanismPlain    = "PLAIN"
	MechanismScram256 = "SCRAM-SHA-256"
	MechanismScram512 = "SCRAM-SHA-512"
)

// Registry says where the schemas are.
type Registry struct {
	URL      string // empty: the embedded registry
	User     string // empty: without a login
	Password string // a secret
	CA       string // file of the authorities to believe in place of the system's
}

// Client makes the settings of a client's connections. The certificate that it
// presents is read at every connection, so that one that is renewed in its place is
// used; the authorities are read once.
func (t TLS) Client() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %w", t.CA, errNoCertificate)
		}
	}
	if t.Cert != "" {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
			if err != nil {
				return nil, fmt.Errorf("read the certificate %s: %w", t.Cert, err)
			}
			return &pair, nil
		}
	}
	return c, nil
}

var errNoCertificate = errors.New("holds no certificate in PEM")

func (r *reader) kafka(v value) Kafka {
	f := r.fields(v, "brokers", "tls", "sasl")
	var k Kafka
	brokers, ok := f["brokers"]
	switch {
	case ok && !isEmptyList(brokers): // [] is the embedded broker, said aloud
		k.Brokers = r.texts(brokers)
		for _, b := range k.Brokers {
			r.address(brokers, b)
		}
	case !ok && isMapping(v):
		r.fault(v.child("brokers", v.line), "is absent", "list host:port, or leave kafka out for the embedded broker")
	}
	at, hasTLS := f["tls"]
	if hasTLS {
		k.TLS = r.tls(at)
	}
	login, hasLogin := f["sasl"]
	if hasLogin {
		k.SASL = r.sasl(login)
	}
	if ok && isEmptyList(brokers) {
		const cure = "list host:port below brokers, or leave this out: the embedded broker listens on this machine alone"
		if hasTLS && k.TLS != nil {
			r.fault(at, "is for brokers elsewhere, and none are named: the embedded broker has no TLS", cure)
		}
		if hasLogin {
			r.fault(login, "is for brokers elsewhere, and none are named: the embedded broker has no login", cure)
		}
	}
	return k
}

// tls is true, or what is special.
func (r *reader) tls(v value) *TLS {
	if !isMapping(v) {
		if v.node.Tag != "!!bool" {
			r.fault(v, "is "+describe(v.node), "write true, or a group of ca, cert, key and server_name")
			return nil
		}
		if !r.truth(v) {
			return nil
		}
		return &TLS{}
	}
	f := r.fields(v, "ca", "cert", "key", "server_name")
	t := &TLS{}
	if ca, ok := f["ca"]; ok {
		t.CA = r.authorities(ca)
	}
	cert, hasCert := f["cert"]
	key, hasKey := f["key"]
	switch {
	case hasCert && hasKey:
		t.Cert, t.Key = r.resolve(r.text(cert)), r.resolve(r.text(key))
		r.pair(cert, key, t)
	case hasCert:
		r.fault(v.child("key", v.line), "is absent beside cert", "name the file of the certificate's private key")
	case hasKey:
		r.fault(v.child("cert", v.line), "is absent beside key", "name the file of the certificate that the key belongs to")
	}
	if name, ok := f["server_name"]; ok {
		t.ServerName = r.text(name)
	}
	return t
}

// authorities is a file of certificates.
func (r *reader) authorities(v value) string {
	const cure = "name a file of the authorities' certificates in PEM (BEGIN CERTIFICATE)"
	path := r.text(v)
	if path == "" {
		return ""
	}
	path = r.resolve(path)
	switch _, err := (TLS{CA: path}).Client(); {
	case errors.Is(err, errNoCertificate):
		r.fault(v, errNoCertificate.Error(), cure)
	case err != nil:
		r.fault(v, reason(err), cure)
	}
	return path
}

// pair checks that the files are a certificate and its key. What a file holds is not
// repeated: it is a secret.
func (r *reader) pair(cert, key value, t *TLS) {
	if t.Cert == "" || t.Key == "" {
		return
	}
	read := true
	for _, file := range []struct {
		at   value
		path string
	}{{cert, t.Cert}, {key, t.Key}} {
		if _, err := os.ReadFile(file.path); err != nil {
			r.fault(file.at, reason(err), "name a file in PEM that can be read")
			read = false
		}
	}
	if !read {
		return
	}
	if _, err := tls.LoadX509KeyPair(t.Cert, t.Key); err != nil {
		r.fault(cert, "and key are no pair: "+strings.TrimPrefix(err.Error(), "tls: "), "name a certificate in PEM, and the private key in PEM that belongs to it")
	}
}

func (r *reader) sasl(v value) *SASL {
	f := r.fields(v, "mechanism", "user", "password", "password_file")
	if !isMapping(v) {
		return nil
	}
	s := &SASL{}
	if mechanism, ok := f["mechanism"]; ok {
		s.Mechanism = r.choice(mechanism, MechanismPlain, MechanismScram256, MechanismScram512)
	} else {
		r.fault(v.child("mechanism", v.line), "is absent", "write "+MechanismPlain+", "+MechanismScram256+" or "+MechanismScram512)
	}
	s.User, s.Password = r.login(v, f)
	return s
}

// login is a user and the password, both of which must be there.
func (r *reader) login(v value, f map[string]value) (user, password string) {
	if at, ok := f["user"]; ok {
		user = r.text(at)
	} else {
		r.fault(v.child("user", v.line), "is absent", "write the name of the user")
	}
	direct, hasDirect := f["password"]
	file, hasFile := f["password_file"]
	switch {
	case hasDirect && hasFile:
		r.fault(file, "stands beside password", "keep one of the two")
	case hasDirect:
		text := r.text(direct)
		if password = strings.TrimSpace(text); text != "" && password == "" { // a Secret made of a file ends in a newline
			r.fault(direct, "is blank", "write the password, as ${VARIABLE}")
		}
	case hasFile:
		path := r.text(file)
		if path == "" {
			break
		}
		b, err := os.ReadFile(r.resolve(path))
		if password = strings.TrimSpace(string(b)); err != nil {
			r.fault(file, reason(err), "name a file that holds nothing but the password")
		} else if password == "" {
			r.fault(file, "names an empty file", "write the password into it")
		}
	default:
		r.fault(v.child("password", v.line), "is absent", "write password: ${VARIABLE}, or password_file: with a file that holds it")
	}
	return user, password
}

func (r *reader) registry(v value) Registry {
	f := r.fields(v, "url", "user", "password", "password_file", "ca")
	var out Registry
	field, ok := f["url"]
	if !ok {
		if isMapping(v) {
			r.fault(v.child("url", v.line), "is absent", "write the registry's URL, or leave registry out for the embedded one")
		}
		return out
	}
	out.URL = r.text(field)
	// The text is not repeated: it may hold a password.
	u, err := url.Parse(out.URL)
	switch {
	case out.URL == "":
		return out
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		r.fault(field, "is not the URL of a registry", "write http://host:port or https://host:port")
		return out
	case strings.Contains(out.URL, "@"):
		r.fault(field, "holds a login, and a URL is shown", "write it as user: and password: beside url")
	}
	for _, name := range []string{"user", "password", "password_file"} {
		if _, ok := f[name]; ok {
			out.User, out.Password = r.login(v, f)
			break
		}
	}
	if ca, ok := f["ca"]; ok {
		if u.Scheme == "http" {
			r.fault(ca, "is for https, and the registry's URL begins with http:", "write https:// if the registry has TLS, or leave ca out")
		}
		out.CA = r.authorities(ca)
	}
	return out
}
