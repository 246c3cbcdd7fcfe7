package deploytest

import (
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/prometheus/prometheus/config"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v3"
)

const composeDir = root + "/deploy/compose"

func project(t *testing.T) *types.Project {
	t.Helper()
	logrus.SetOutput(io.Discard)
	opts, err := cli.NewProjectOptions([]string{composeDir + "/compose.yaml"}, cli.WithConsistency(true), cli.WithNormalization(true), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := opts.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// oneShot are services that end.
var oneShot = []string{"mongodb-init"}

func TestCompose(t *testing.T) {
	p := project(t)
	for _, name := range []string{"kafka", "registry", "postgres", "mysql", "mariadb", "mongodb", "prometheus", "grafana", "millrace"} {
		if _, ok := p.Services[name]; !ok {
			t.Errorf("no service %s", name)
		}
	}
	// PostgreSQL's versions have two numbers, all others three.
	version := regexp.MustCompile(`^(postgres:\d+|[a-z0-9/.-]+:v?\d+\.\d+)\.\d+(-[a-z]+)?$`)
	mounted := map[string]bool{}
	for name, s := range p.Services {
		if !version.MatchString(s.Image) && s.Build == nil {
			t.Errorf("%s: the image %s has no exact version", name, s.Image)
		}
		if once := slices.Contains(oneShot, name); !once && (s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2) {
			t.Errorf("%s: nobody can tell whether it is healthy", name)
		} else if once && s.Restart != types.RestartPolicyOnFailure {
			t.Errorf("%s ends and is started again for ever", name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to others", name, port.Published)
			}
		}
		for other, d := range s.DependsOn {
			want := types.ServiceConditionHealthy
			if slices.Contains(oneShot, other) {
				want = types.ServiceConditionCompletedSuccessfully
			}
			if d.Condition != want {
				t.Errorf("%s does not wait for %s: %s", name, other, d.Condition)
			}
		}
		for _, v := range s.Volumes {
			switch v.Type {
			case types.VolumeTypeVolume:
				mounted[v.Source] = true
			case types.VolumeTypeBind:
				if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
					t.Errorf("%s: %s is not there, or can be written: %v", name, v.Source, err)
				}
			}
		}
		if s.Privileged || s.NetworkMode == "host" {
			t.Errorf("%s is not shut in", name)
		}
	}
	for name := range p.Volumes {
		if !mounted[name] {
			t.Errorf("volume %s belongs to nobody", name)
		}
	}
}

// Millrace's service is the image of the Dockerfile, and its configuration names
// what is there.
func TestComposeOfMillrace(t *testing.T) {
	p := project(t)
	s := p.Services["millrace"]
	if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.Build.Context, "go.mod")); err != nil {
		t.Error(err)
	}
	if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		t.Error("it may do more than it needs")
	}
	i := readDockerfile(t)
	last := i.stages[1]
	entry := commands[*instructions.EntrypointCommand](last)[0].CmdLine
	if s.HealthCheck.Test[1] != entry[0] {
		t.Errorf("health is asked by %s, and the image has %s", s.HealthCheck.Test[1], entry[0])
	}
	files := map[string]string{} // by where they are mounted
	for _, v := range s.Volumes {
		files[v.Target] = v.Source
	}
	command := commands[*instructions.CmdCommand](last)[0].CmdLine
	file := files[command[len(command)-1]]
	if file == "" {
		t.Fatalf("the image reads %s, which is not mounted", command[len(command)-1])
	}
	if data := commands[*instructions.VolumeCommand](last)[0].Volumes[0]; files[data] != "millrace" {
		t.Errorf("%s is not kept", data)
	}

	conf := text(t, file)
	var hosts []string
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)\}`).FindAllStringSubmatch(conf, -1) {
		value := s.Environment[m[1]]
		if value == nil {
			t.Errorf("%s is in the configuration, and not in the environment", m[1])
			continue
		}
		u, err := url.Parse(*value)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, u.Hostname())
	}
	var c struct {
		Kafka    struct{ Brokers []string }
		Registry struct{ URL string }
		Derived  string
	}
	if err := yaml.Unmarshal([]byte(conf), &c); err != nil {
		t.Fatal(err)
	}
	for _, broker := range c.Kafka.Brokers {
		host, _, _ := strings.Cut(broker, ":")
		hosts = append(hosts, host)
	}
	u, err := url.Parse(c.Registry.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range append(hosts, u.Hostname()) {
		if _, ok := p.Services[host]; !ok {
			t.Errorf("no service %s", host)
		}
		if _, ok := s.DependsOn[host]; !ok {
			t.Errorf("it does not wait for %s", host)
		}
	}
	if files[filepath.Join(filepath.Dir(command[len(command)-1]), c.Derived)] == "" {
		t.Errorf("the folder of the specs, %s, is not mounted", c.Derived)
	}
}

// Prometheus scrapes Millrace under a name that the alerts know, and reads them;
// Grafana finds its data and the dashboards.
func TestComposeOfMonitoring(t *testing.T) {
	p := project(t)
	conf, err := config.Load(text(t, composeDir+"/prometheus.yaml"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	job := conf.ScrapeConfigs[0]
	for _, r := range alerts(t) {
		if m := regexp.MustCompile(`\bup\{job=~"(.*?)"\}`).FindStringSubmatch(r.Expr); m != nil && !regexp.MustCompile("^(?:"+m[1]+")$").MatchString(job.JobName) {
			t.Errorf("%s does not see the job %s", r.Alert, job.JobName)
		}
	}
	files := map[string]string{}
	for _, name := range []string{"prometheus", "grafana"} {
		for _, v := range p.Services[name].Volumes {
			files[v.Target] = v.Source
		}
	}
	if rules := conf.RuleFiles[0]; !strings.HasSuffix(files[filepath.Dir(rules)], "deploy/helm/millrace/alerts") {
		t.Errorf("%s are not the alerts", rules)
	}
	var sources struct {
		Datasources []struct {
			Type, URL string
			IsDefault bool `yaml:"isDefault"`
		}
	}
	if err := yaml.Unmarshal([]byte(text(t, composeDir+"/grafana/datasources.yaml")), &sources); err != nil {
		t.Fatal(err)
	}
	if len(sources.Datasources) != 1 || sources.Datasources[0].URL != "http://prometheus:9090" || !sources.Datasources[0].IsDefault {
		t.Errorf("data sources %+v", sources)
	}
	var provided struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := yaml.Unmarshal([]byte(text(t, composeDir+"/grafana/dashboards.yaml")), &provided); err != nil {
		t.Fatal(err)
	}
	if path := provided.Providers[0].Options.Path; !strings.HasSuffix(files[path], "deploy/helm/millrace/dashboards") {
		t.Errorf("%s is not the folder of dashboards", path)
	}
	home := p.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if home == nil || dashboards(t)[filepath.Base(*home)].UID == "" {
		t.Error("Grafana begins with a dashboard that is not there")
	}
}
