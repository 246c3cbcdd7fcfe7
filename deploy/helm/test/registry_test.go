package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// The address in millrace.yaml is that of the registry that the chart runs, whichever
// that is; with one of the user's own it runs none.
func TestRegistry(t *testing.T) {
	for _, test := range []struct {
		values, url string
		listens     int32 // 0: none is run
		args        []string
	}{
		{"", "http://shop-millrace-registry:8081/registry", 8080, []string{"registry", "--config", "/etc/millrace/millrace.yaml", "--log", "info"}},
		{"registry: {topic: _schemas}", "http://shop-millrace-registry:8081/registry", 8080, []string{"registry", "--config", "/etc/millrace/millrace.yaml", "--log", "info", "--topic", "_schemas"}},
		{"registry: {image: \"a/b:1\", path: /api, port: 9000}", "http://shop-millrace-registry:9000/api", 9000, nil},
		{"registry: {url: \"https://schemas.example.com/x\"}", "https://schemas.example.com/x", 0, nil},
	} {
		r := mustRender(t, values(t, "minimal")+test.values, options{})
		if conf := as[*corev1.ConfigMap](t, r, "ConfigMap", "shop-millrace").Data["millrace.yaml"]; !strings.Contains(conf, `url: "`+test.url+`"`) {
			t.Errorf("%s: the configuration is\n%s", test.values, conf)
		}
		if test.listens == 0 {
			for _, o := range r.objects {
				if o.name == "shop-millrace-registry" {
					t.Errorf("%s: there is a %s for a registry", test.values, o.kind)
				}
			}
			continue
		}
		pod := as[*appsv1.Deployment](t, r, "Deployment", "shop-millrace-registry").Spec.Template
		service := as[*corev1.Service](t, r, "Service", "shop-millrace-registry").Spec
		port := pod.Spec.Containers[0].Ports[0]
		if !strings.Contains(test.url, fmt.Sprintf(":%d/", service.Ports[0].Port)) || service.Ports[0].TargetPort.String() != port.Name || port.ContainerPort != test.listens {
			t.Errorf("%s: the service leads to %v, the pod listens on %+v", test.values, service.Ports[0], port)
		}
		for key, value := range service.Selector {
			if pod.Labels[key] != value {
				t.Errorf("%s: the service does not find the pod by %s", test.values, key)
			}
		}
		if got := pod.Spec.Containers[0].Args; !slices.Equal(got, test.args) {
			t.Errorf("%s: the pod has the arguments %v", test.values, got)
		}
	}
}
