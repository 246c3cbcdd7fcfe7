package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"millrace/deriver/spec"
	"millrace/internal/config"
)

// secrets are what the Secrets of the values' DSNs hold.
var secrets = map[string]string{
	"orders-db":   "postgres://reader@orders/shop\n",
	"payments-db": "mysql://reader@payments/shop\n",
	"stock-db":    "postgres://reader@stock/shop",
	"mill-dsn":    "mysql://reader:pa$$word@payments:3306/shop",

	"kafka-login":    "pa$$${word}\n",
	"registry-login": "token",
}

// load reads the rendered millrace.yaml with the product's own loader, as a pod does
// that opens these sources: its specs are there, and of Secrets those that it has.
func load(t *testing.T, r rendered, fullname string, pod corev1.PodSpec, opens func(source string) bool) (*config.Config, error) {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{}
	for _, e := range pod.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			env[e.Name] = secrets[e.ValueFrom.SecretKeyRef.Name]
		}
	}
	certificates := certificate(t)
	for _, v := range pod.Volumes {
		if v.Name != "dsn" && v.Name != "access" {
			continue
		}
		for _, s := range v.Projected.Sources {
			for _, item := range s.Secret.Items {
				text := secrets[s.Secret.Name]
				if v.Name == "access" {
					text = certificates[item.Key]
				}
				if err := os.WriteFile(filepath.Join(dir, item.Path), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	text := as[*corev1.ConfigMap](t, r, "ConfigMap", fullname).Data["millrace.yaml"]
	for path, here := range map[string]string{"/etc/millrace-derived": writeSpecs(t, r), "/etc/millrace-dsn": dir, "/etc/millrace-access": dir} {
		text = strings.ReplaceAll(text, path, here)
	}
	file := filepath.Join(dir, "millrace.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.LoadFor(file, func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}, opens)
}

// certificate is what Secrets of certificates hold, by their keys.
func certificate(t *testing.T) map[string]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return map[string]string{
		"ca.crt": cert, "ca.pem": cert, "tls.crt": cert, "tls.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
	}
}

func all(string) bool { return true }

// The configuration that the chart writes is one that Millrace takes, and says what
// the values say.
func TestMillraceTakesTheConfiguration(t *testing.T) {
	r := mustRender(t, values(t, "everything"), options{})
	everything, err := load(t, r, "mill", as[*corev1.Pod](t, r, "Pod", "mill-check").Spec, all)
	if err != nil {
		t.Fatal(err)
	}
	w, payments := everything.Warehouse, everything.Sources["payments_db"]
	if everything.Prefix != "shop" || len(everything.Kafka.Brokers) != 2 || everything.Registry.URL != "http://mill-registry:8090/apis/ccompat/v7" || everything.HTTP != "0.0.0.0:8080" {
		t.Errorf("the configuration is %+v", everything)
	}
	if w.Kind != config.KindBigQuery || w.BigQuery.Project != "acme-data" || w.BigQuery.Location != "europe-west1" || w.BigQuery.MaxBytesBilled != 2e12 ||
		w.BigQuery.WritesAddr != "bigquery:9060" || w.LoadEvery.Seconds() != 30 || w.Freshness.Minutes() != 5 {
		t.Errorf("the warehouse is %+v", w)
	}
	if payments.ServerID != 4294967295 || payments.DSN != "mysql://reader:pa$$word@payments:3306/shop" || payments.Tables["shop.payments"].History != "core.payments_history" {
		t.Errorf("payments are %+v", payments)
	}
	if everything.Sources["orders_db"].DSN != "postgres://reader@orders/shop" || everything.Data != "/var/lib/millrace" {
		t.Errorf("orders are %+v, data %s", everything.Sources["orders_db"], everything.Data)
	}
	k := everything.Kafka
	if k.TLS == nil || filepath.Base(k.TLS.CA) != "kafka-ca.crt" || filepath.Base(k.TLS.Cert) != "kafka-tls.crt" || k.TLS.ServerName != "kafka.internal" ||
		k.SASL == nil || *k.SASL != (config.SASL{Mechanism: "SCRAM-SHA-512", User: "mill$", Password: "pa$$${word}"}) {
		t.Errorf("the access to Kafka is %+v, %+v", k.TLS, k.SASL)
	}
	if got := everything.GroupNames(); !slices.Equal(got, []string{"default", "events", "money", "paused"}) {
		t.Errorf("the groups are %v", got)
	}

	for name, want := range map[string]string{"minimal": config.KindBigQuery, "single": config.KindDuckDB, "single-bigquery": config.KindBigQuery} {
		r := mustRender(t, values(t, name), options{})
		c, err := load(t, r, "shop-millrace", as[*corev1.Pod](t, r, "Pod", "shop-millrace-check").Spec, all)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if login := name == "single-bigquery"; (c.Kafka.TLS != nil) != login || (c.Registry.User == "a$b" && c.Registry.Password == "token" && c.Registry.CA != "") != login {
			t.Errorf("%s: the access is %+v, %+v", name, c.Kafka.TLS, c.Registry)
		} else if c.Warehouse.Kind != want || (len(c.Kafka.Brokers) == 0) != (name == "single") || (c.Registry.URL == "") != (name == "single") {
			t.Errorf("%s: the configuration is %+v", name, c)
		}
	}
}

// Every pod has the DSNs of what it opens: a source's pod its own, the others none.
func TestPodsHaveTheDSNsTheyNeed(t *testing.T) {
	r := mustRender(t, values(t, "everything"), options{})
	for _, name := range r.names("Deployment") {
		d := as[*appsv1.Deployment](t, r, "Deployment", name)
		pod := d.Spec.Template.Spec
		if name == "mill-registry" { // not Millrace's
			continue
		}
		source := d.Annotations["millrace/source"]
		c, err := load(t, r, "mill", pod, func(s string) bool { return s == source })
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for s := range c.Sources {
			if (c.Sources[s].DSN != "") != (s == source) {
				t.Errorf("%s has the DSN %q of %s", name, c.Sources[s].DSN, s)
			}
		}
	}
	single := mustRender(t, values(t, "single"), options{})
	if _, err := load(t, single, "shop-millrace", as[*appsv1.StatefulSet](t, single, "StatefulSet", "shop-millrace-up").Spec.Template.Spec, all); err != nil {
		t.Errorf("single: %v", err)
	}
}

// What a pod finds in its folder of specs is what the files were, SQL included.
func TestMillraceTakesTheSpecs(t *testing.T) {
	want, faults, err := spec.Load(os.DirFS(shopSpecs))
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	r := mustRender(t, values(t, "minimal")+"derived: {configMaps: 3}", options{chart: chartWith(t, shopSpecs)})
	got, faults, err := spec.Load(os.DirFS(writeSpecs(t, r)))
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	queries := func(specs []*spec.Spec) (out []string) {
		for _, s := range specs {
			out = append(out, s.Name+": "+s.Query)
		}
		slices.Sort(out)
		return out
	}
	if !slices.Equal(queries(got), queries(want)) {
		t.Errorf("the specs are\n%q\nnot\n%q", queries(got), queries(want))
	}

	// Files in folders keep their SQL, though a ConfigMap has no folders.
	got, faults, err = spec.Load(os.DirFS(writeSpecs(t, mustRender(t, values(t, "everything"), options{}))))
	if err != nil || len(faults) > 0 || len(got) != 2 {
		t.Fatal(len(got), err, faults)
	}
	for _, s := range got {
		if s.Name == "crm.customers" && !strings.Contains(s.Query, "COUNT(*) AS orders FROM core.orders") {
			t.Errorf("the query of %s is %q", s.Name, s.Query)
		}
	}
}

// What pods run are commands that Millrace has, with flags that they know.
func TestPodsRunKnownCommands(t *testing.T) {
	help, err := os.ReadFile("../../../cmd/millrace/testdata/help.golden")
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]string{} // a command's help
	for _, part := range strings.Split(string(help), "$ millrace ")[1:] {
		name, text, _ := strings.Cut(part, " --help\n")
		of[name] = text
	}
	commands := map[string]bool{}
	slips := map[string]bool{}
	for _, r := range matrix(t) {
		for _, raw := range r.objects {
			o, err := typed(raw)
			if err != nil {
				t.Fatal(err)
			}
			pod, has := podOf(o)
			if !has || pod.Spec.Containers[0].Args == nil || strings.Contains(pod.Spec.Containers[0].Image, "loadtest") {
				continue
			}
			args := pod.Spec.Containers[0].Args
			commands[args[0]] = true
			if of[args[0]] == "" {
				slips["millrace "+args[0]+", which is no command"] = true
			}
			for _, arg := range args[1:] {
				if strings.HasPrefix(arg, "--") && !strings.Contains(of[args[0]], arg+" ") {
					slips["millrace "+args[0]+" with "+arg+", which it does not know"] = true
				}
			}
		}
	}
	for slip := range slips {
		t.Error("a pod runs " + slip)
	}
	if len(commands) < 7 {
		t.Errorf("the pods run only %v", commands)
	}
}
