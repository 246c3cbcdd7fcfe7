package test

import (
	"os"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// Both autoscalers ask for the lag of the one group that they scale, as the product
// names it, and scale its Deployment.
func TestScalingIsByTheLagOfTheGroup(t *testing.T) {
	r := mustRender(t, values(t, "everything"), options{})
	keda := as[*scaledObject](t, r, "ScaledObject", "mill-consume-events").Spec
	trigger := keda.Triggers[0]
	if keda.ScaleTargetRef.Name != "mill-consume-events" || *keda.MinReplicaCount != 2 || *keda.MaxReplicaCount != 6 || len(keda.Triggers) != 1 ||
		trigger.Type != "prometheus" || trigger.MetricType != "AverageValue" || trigger.Metadata["threshold"] != "5000" ||
		trigger.Metadata["query"] != `sum(millrace_load_lag_records{group="shop.consumers.events"}) or vector(0)` {
		t.Errorf("KEDA scales by %+v", keda)
	}
	hpa := as[*autoscalingv2.HorizontalPodAutoscaler](t, r, "HorizontalPodAutoscaler", "mill-consume-money").Spec
	of := hpa.Metrics[0].External
	if hpa.ScaleTargetRef.Name != "mill-consume-money" || *hpa.MinReplicas != 1 || hpa.MaxReplicas != 8 ||
		of.Metric.Name != "millrace_load_lag_records" || of.Metric.Selector.MatchLabels["group"] != "shop.consumers.money" || of.Target.AverageValue.Value() != 5000 {
		t.Errorf("the HPA scales by %+v", hpa)
	}

	if code, err := os.ReadFile("../../../consumers/metrics.go"); err != nil || !strings.Contains(string(code), `"millrace_load_lag_records"`) {
		t.Errorf("consumers have no such metric; %v", err)
	}

	all := mustRender(t, values(t, "minimal")+"consume: {scaling: {kind: keda, prometheus: \"http://p\"}}", options{})
	if got := as[*scaledObject](t, all, "ScaledObject", "shop-millrace-consume-default").Spec.Triggers[0].Metadata["query"]; got != `sum(millrace_load_lag_records{group="millrace.consumers"}) or vector(0)` {
		t.Errorf("the default group scales by %s", got)
	}
}
