package test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dnsLabel is what every name may be, because names become labels' values.
var dnsLabel = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Every object is one that Kubernetes knows, under a name of its own, and every pod
// keeps the policies.
func TestEveryObject(t *testing.T) {
	for name, r := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{}
			accounts := r.names("ServiceAccount")
			for _, raw := range r.objects {
				o, err := typed(raw)
				if err != nil {
					t.Error(err)
					continue
				}
				id := raw.kind + " " + raw.name
				if seen[id] || !dnsLabel.MatchString(raw.name) {
					t.Errorf("%s is no name, or stands twice", id)
				}
				seen[id] = true
				for key, value := range o.GetLabels() {
					if len(value) > 63 {
						t.Errorf("%s: the label %s is too long", id, key)
					}
				}
				if pod, has := podOf(o); has {
					for _, fault := range podFaults(o, pod) {
						t.Errorf("%s: %s", id, fault)
					}
					if sa := pod.Spec.ServiceAccountName; !slices.Contains(accounts, sa) && sa != "default" && sa != "millrace-init" {
						t.Errorf("%s: its ServiceAccount %s is not made", id, sa)
					}
				}
			}
		})
	}
}

// podFaults says what a pod lacks.
func podFaults(o metav1.Object, template corev1.PodTemplateSpec) (faults []string) {
	want := func(holds bool, fault string) {
		if !holds {
			faults = append(faults, fault)
		}
	}
	isTrue := func(b *bool) bool { return b != nil && *b }
	isFalse := func(b *bool) bool { return b != nil && !*b }
	pod := template.Spec
	sc := pod.SecurityContext
	want(sc != nil && isTrue(sc.RunAsNonRoot) && sc.RunAsUser != nil && *sc.RunAsUser == 65532, "it may run as root")
	want(sc != nil && sc.SeccompProfile != nil && sc.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "it has no seccomp profile")
	want(isFalse(pod.AutomountServiceAccountToken), "it has a token of the API, which it does not need")
	want(isFalse(pod.EnableServiceLinks), "it has the addresses of all services in its environment")
	want(!pod.HostNetwork && !pod.HostPID && !pod.HostIPC, "it shares the node's namespaces")
	want(pod.TerminationGracePeriodSeconds != nil && *pod.TerminationGracePeriodSeconds > 30, "it is killed while it drains")
	mounts := map[string]bool{}
	for _, v := range pod.Volumes {
		mounts[v.Name] = true
		want(v.HostPath == nil, "it mounts a path of the node")
	}
	if s, ok := o.(*appsv1.StatefulSet); ok {
		for _, claim := range s.Spec.VolumeClaimTemplates {
			mounts[claim.Name] = true
		}
	}
	_, isJob := o.(*batchv1.Job)
	_, isPod := o.(*corev1.Pod)
	for _, c := range pod.Containers {
		sc := c.SecurityContext
		want(sc != nil && isTrue(sc.ReadOnlyRootFilesystem), "its root can be written")
		want(sc != nil && isFalse(sc.AllowPrivilegeEscalation) && !isTrue(sc.Privileged), "it may gain privileges")
		want(sc != nil && sc.Capabilities != nil && slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) && len(sc.Capabilities.Add) == 0, "it keeps capabilities")
		for _, of := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, request := c.Resources.Limits[of], c.Resources.Requests[of]
			want(!limit.IsZero() && !request.IsZero(), "it has no limit or request of "+string(of))
			want(limit.IsZero() || request.Cmp(limit) <= 0, "it asks for more "+string(of)+" than its limit")
		}
		want(!strings.HasSuffix(c.Image, ":latest") && (strings.Contains(c.Image, ":") || strings.Contains(c.Image, "@")), "its image has no version")
		if !isJob && !isPod {
			want(c.LivenessProbe != nil && c.ReadinessProbe != nil && c.StartupProbe != nil, "it lacks a probe")
		}
		written := 0
		for _, m := range c.VolumeMounts {
			want(mounts[m.Name], "it mounts "+m.Name+", which is no volume")
			if !m.ReadOnly {
				written++
			}
		}
		want(written > 0, "it can write nowhere")
	}
	for key := range template.Annotations {
		want(!strings.HasPrefix(key, "checksum/") || template.Annotations[key] != "", "its "+key+" is empty")
	}
	return faults
}

// The grace period is longer than a part takes to end, which the product says in
// its code: reading it there costs less than building the product.
func TestGraceIsLongerThanADrain(t *testing.T) {
	text, err := os.ReadFile("../../../internal/up/up.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "const StopsWithin = 30 * time.Second") {
		t.Error("a part no longer ends within 30 s: the chart's terminationGracePeriodSeconds, its schema and its policies say so")
	}
}

// The checks find what they look for.
func TestPolicyFindsFaults(t *testing.T) {
	r := mustRender(t, values(t, "minimal"), options{})
	good := as[*appsv1.Deployment](t, r, "Deployment", "shop-millrace-consume-default")
	if faults := podFaults(good, good.Spec.Template); len(faults) > 0 {
		t.Fatalf("the good one has %v", faults)
	}
	for want, spoil := range map[string]func(p *corev1.PodSpec, c *corev1.Container){
		"root":       func(p *corev1.PodSpec, _ *corev1.Container) { p.SecurityContext.RunAsNonRoot = nil },
		"token":      func(p *corev1.PodSpec, _ *corev1.Container) { p.AutomountServiceAccountToken = nil },
		"written":    func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.ReadOnlyRootFilesystem = nil },
		"limit":      func(_ *corev1.PodSpec, c *corev1.Container) { delete(c.Resources.Limits, "memory") },
		"version":    func(_ *corev1.PodSpec, c *corev1.Container) { c.Image = "millrace:latest" },
		"probe":      func(_ *corev1.PodSpec, c *corev1.Container) { c.ReadinessProbe = nil },
		"no volume":  func(p *corev1.PodSpec, _ *corev1.Container) { p.Volumes = p.Volumes[1:] },
		"privileges": func(_ *corev1.PodSpec, c *corev1.Container) { c.SecurityContext.AllowPrivilegeEscalation = nil },
	} {
		bad := good.DeepCopy()
		spoil(&bad.Spec.Template.Spec, &bad.Spec.Template.Spec.Containers[0])
		if faults := podFaults(bad, bad.Spec.Template); len(faults) != 1 || !strings.Contains(faults[0], want) {
			t.Errorf("spoilt by %q it has the faults %q", want, faults)
		}
	}
}

// A writer of which there must be one is never two: not by replicas, not while it
// is replaced. Those that may be several have a budget only where one can be kept.
func TestOneWriter(t *testing.T) {
	r := mustRender(t, values(t, "everything"), options{})
	budgets := r.names("PodDisruptionBudget")
	for _, name := range r.names("Deployment") {
		d := as[*appsv1.Deployment](t, r, "Deployment", name)
		if role := d.Labels["app.kubernetes.io/component"]; role != "consume" {
			if d.Spec.Replicas == nil || *d.Spec.Replicas != 1 || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
				t.Errorf("%s may be two", name)
			}
			if slices.Contains(budgets, name) {
				t.Errorf("the budget of %s blocks its node's drain", name)
			}
		}
	}
	for name, want := range map[string]int32{"mill-consume-default": 2, "mill-consume-events": -1, "mill-consume-money": -1, "mill-consume-paused": 0} {
		got := int32(-1)
		if replicas := as[*appsv1.Deployment](t, r, "Deployment", name).Spec.Replicas; replicas != nil {
			got = *replicas
		}
		if got != want { // of a group that scales the number is the autoscaler's
			t.Errorf("%s has %d replicas, not %d", name, got, want)
		}
	}
	if want := []string{"mill-consume-default", "mill-consume-events"}; !slices.Equal(budgets, want) {
		t.Errorf("there are budgets for %v, not %v", budgets, want)
	}
}

// Go's collector knows of the container's limit, and leaves room below it.
func TestCollectorStaysBelowTheLimit(t *testing.T) {
	for memory, want := range map[string]string{
		"2Gi": "1843MiB", "512Mi": "460MiB", "1.5Gi": "1382MiB", "1000M": "858MiB", "\"1000000000\"": "858MiB", "1073741824": "921MiB",
		"1e9": "858MiB", "\"1e9\"": "", // then it is the limit itself
	} {
		r := mustRender(t, values(t, "minimal")+"produce: {resources: {limits: {memory: "+memory+"}}}", options{})
		pod := as[*appsv1.Deployment](t, r, "Deployment", "shop-millrace-produce-orders-db").Spec.Template.Spec
		for _, e := range pod.Containers[0].Env {
			if e.Name == "GOMEMLIMIT" && (e.Value != want || (e.ValueFrom != nil) != (want == "")) {
				t.Errorf("of %s the collector gets %q, not %q", memory, e.Value, want)
			}
		}
	}
}

// The pod of mode single is replaced also while it is not ready, and has the time to
// read a long log.
func TestSingleRecovers(t *testing.T) {
	set := as[*appsv1.StatefulSet](t, mustRender(t, values(t, "single"), options{}), "StatefulSet", "shop-millrace-up")
	if set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Error("a pod that never becomes ready is never replaced")
	}
	if p := set.Spec.Template.Spec.Containers[0].StartupProbe; p.PeriodSeconds*p.FailureThreshold < 3600 {
		t.Errorf("it is killed after %d s, while the broker may read its log", p.PeriodSeconds*p.FailureThreshold)
	}
}

// Each pod has the DSNs of the sources that it opens, and no others; and the key to
// the warehouse only if it writes there.
func TestSecretsAreWhereTheyAreNeeded(t *testing.T) {
	r := mustRender(t, values(t, "everything"), options{})
	for name, want := range map[string]string{
		"mill-produce-orders-db":               "file:orders-db",
		"mill-produce-payments-db":             "DSN_PAYMENTS_DB=mill-dsn",
		"mill-produce-stock-db":                "DSN_STOCK_DB=stock-db",
		"mill-consume-default":                 "google:google",
		"mill-derive-analytics--revenue-daily": "google:google",
		"mill-registry":                        "",
	} {
		pod := as[*appsv1.Deployment](t, r, "Deployment", name).Spec.Template.Spec
		if got := strings.Join(secretsOf(pod), " "); got != want {
			t.Errorf("%s has the secrets %q, not %q", name, got, want)
		}
	}
	check := as[*corev1.Pod](t, r, "Pod", "mill-check").Spec
	if got, want := strings.Join(secretsOf(check), " "), "DSN_PAYMENTS_DB=mill-dsn DSN_STOCK_DB=stock-db file:orders-db google:google"; got != want {
		t.Errorf("the check has the secrets %q, not %q", got, want)
	}
	for _, o := range r.objects {
		if o.kind != "Secret" && strings.Contains(string(o.text), "pa$$word") {
			t.Errorf("%s %s shows a DSN", o.kind, o.name)
		}
	}
}

func secretsOf(pod corev1.PodSpec) (out []string) {
	for _, e := range pod.Containers[0].Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			out = append(out, e.Name+"="+e.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, v := range pod.Volumes {
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.Secret != nil {
					out = append(out, "file:"+s.Secret.Name)
				}
			}
		}
		if v.Secret != nil {
			out = append(out, v.Name+":"+v.Secret.SecretName)
		}
	}
	return out
}
