package scenario

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"millrace/internal/config"
	"millrace/internal/kafka"
	"millrace/internal/up"
	"millrace/schemas/registry"
)

// where says where topics and schemas are, and how they are entered.
type where struct {
	Kafka    config.Kafka
	Embedded bool // kfake
	Registry config.Registry
}

// open is brokers and a registry without TLS and logins.
func open(brokers []string, registry string) where {
	return where{Kafka: config.Kafka{Brokers: brokers}, Registry: config.Registry{URL: registry}}
}

func (w where) cluster() (kafka.Cluster, error) { return up.ClusterOf(w.Kafka) }

func (w where) schemas() (*registry.Client, error) { return up.RegistryOf(w.Registry) }

// anywhere is what is configured, seen from any folder.
func anywhere(k config.Kafka, r config.Registry) (where, error) {
	w := where{Kafka: k, Registry: r}
	files := []*string{&w.Registry.CA}
	if k.TLS != nil {
		settings := *k.TLS
		w.Kafka.TLS = &settings
		files = append(files, &settings.CA, &settings.Cert, &settings.Key)
	}
	for _, f := range files {
		if *f == "" {
			continue
		}
		var err error
		if *f, err = filepath.Abs(*f); err != nil {
			return w, fmt.Errorf("find %s: %w", *f, err)
		}
	}
	return w, nil
}

// sections are those of the product's configuration that say the same.
func (w where) sections() (string, error) {
	kafka := map[string]any{"brokers": w.Kafka.Brokers}
	if t := w.Kafka.TLS; t != nil {
		kafka["tls"] = true
		if said := said(map[string]string{"ca": t.CA, "cert": t.Cert, "key": t.Key, "server_name": t.ServerName}); len(said) > 0 {
			kafka["tls"] = said
		}
	}
	if s := w.Kafka.SASL; s != nil {
		kafka["sasl"] = said(map[string]string{"mechanism": s.Mechanism, "user": s.User, "password": s.Password})
	}
	r := w.Registry
	registry := said(map[string]string{"url": r.URL, "user": r.User, "password": r.Password, "ca": r.CA})
	var out strings.Builder
	for _, s := range []struct {
		name string
		of   any
	}{{"kafka", kafka}, {"registry", registry}} {
		text, err := json.Marshal(s.of) // JSON is YAML
		if err != nil {
			return "", fmt.Errorf("write the section %s: %w", s.name, err)
		}
		fmt.Fprintf(&out, "%s: %s\n", s.name, strings.ReplaceAll(string(text), "$", "$$"))
	}
	return out.String(), nil
}

// said are the fields that are not empty.
func said(fields map[string]string) map[string]string {
	for name, value := range fields {
		if value == "" {
			delete(fields, name)
		}
	}
	return fields
}
