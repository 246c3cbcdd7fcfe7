package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// scaledObject is KEDA's, as far as the chart writes it.
type scaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount *int32 `json:"minReplicaCount"`
		MaxReplicaCount *int32 `json:"maxReplicaCount"`
		CooldownPeriod  *int32 `json:"cooldownPeriod"`
		Triggers        []struct {
			Type       string            `json:"type"`
			MetricType string            `json:"metricType"`
			Metadata   map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

// podMonitor is the Prometheus operator's, as far as the chart writes it.
type podMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector            metav1.LabelSelector `json:"selector"`
		PodTargetLabels     []string             `json:"podTargetLabels"`
		PodMetricsEndpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

// prometheusRule is the Prometheus operator's.
type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []ruleGroup `json:"groups"`
	} `json:"spec"`
}

type ruleGroup struct {
	Name  string `json:"name"`
	Rules []struct {
		Alert       string            `json:"alert"`
		Expr        string            `json:"expr"`
		For         string            `json:"for"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"rules"`
}

// kinds are the types that the chart's objects are decoded into.
var kinds = map[string]func() metav1.Object{
	"v1 ConfigMap":                            func() metav1.Object { return new(corev1.ConfigMap) },
	"v1 Secret":                               func() metav1.Object { return new(corev1.Secret) },
	"v1 Service":                              func() metav1.Object { return new(corev1.Service) },
	"v1 ServiceAccount":                       func() metav1.Object { return new(corev1.ServiceAccount) },
	"v1 Pod":                                  func() metav1.Object { return new(corev1.Pod) },
	"apps/v1 Deployment":                      func() metav1.Object { return new(appsv1.Deployment) },
	"apps/v1 StatefulSet":                     func() metav1.Object { return new(appsv1.StatefulSet) },
	"batch/v1 Job":                            func() metav1.Object { return new(batchv1.Job) },
	"autoscaling/v2 HorizontalPodAutoscaler":  func() metav1.Object { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1 NetworkPolicy":      func() metav1.Object { return new(networkingv1.NetworkPolicy) },
	"policy/v1 PodDisruptionBudget":           func() metav1.Object { return new(policyv1.PodDisruptionBudget) },
	"keda.sh/v1alpha1 ScaledObject":           func() metav1.Object { return new(scaledObject) },
	"monitoring.coreos.com/v1 PodMonitor":     func() metav1.Object { return new(podMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule": func() metav1.Object { return new(prometheusRule) },
}

// typed decodes an object strictly: a field that its type does not know, one that
// stands twice, or a value of another type is an error.
func typed(o object) (metav1.Object, error) {
	empty, known := kinds[o.apiVersion+" "+o.kind]
	if !known {
		return nil, fmt.Errorf("%s %s is a kind that no test knows", o.apiVersion, o.kind)
	}
	into := empty()
	text, err := yaml.YAMLToJSONStrict(o.text)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", o.kind, o.name, err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w", o.kind, o.name, err)
	}
	return into, nil
}

// as is the typed object of a kind and a name.
func as[T metav1.Object](t *testing.T, r rendered, kind, name string) T {
	t.Helper()
	o, err := typed(r.find(t, kind, name))
	if err != nil {
		t.Fatal(err)
	}
	return o.(T)
}

// podOf is the template of an object's pods, if it has any.
func podOf(o metav1.Object) (corev1.PodTemplateSpec, bool) {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return o.Spec.Template, true
	case *appsv1.StatefulSet:
		return o.Spec.Template, true
	case *batchv1.Job:
		return o.Spec.Template, true
	case *corev1.Pod:
		return corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}, true
	}
	return corev1.PodTemplateSpec{}, false
}

// The decoder that every other test relies on finds slips.
func TestDecodingIsStrict(t *testing.T) {
	for _, text := range []string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {port: 1}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: one}]}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: x, name: y}",
		"apiVersion: v1\nkind: Endpoints\nmetadata: {name: x}",
		"apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {triggers: [{type: kafka, metadata: {lag: 1}}]}",
	} {
		objects, err := appendObjects(nil, text)
		if err == nil {
			_, err = typed(objects[0])
		}
		if err == nil {
			t.Errorf("this is taken:\n%s", text)
		}
	}
}
