package deploytest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// image is the Dockerfile, as BuildKit reads it.
type image struct {
	stages []instructions.Stage
	args   map[string]string // those before the first stage
}

func readDockerfile(t *testing.T) image {
	t.Helper()
	text, err := os.ReadFile(root + "/deploy/docker/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	ast, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(ast.Warnings) > 0 {
		t.Errorf("warnings: %v", ast.Warnings)
	}
	stages, meta, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	i := image{stages, map[string]string{}}
	for _, cmd := range meta {
		for _, arg := range cmd.Args {
			i.args[arg.Key] = arg.ValueString()
		}
	}
	return i
}

// from is the image that a stage begins with.
func (i image) from(t *testing.T, s instructions.Stage) string {
	t.Helper()
	return expand(t, s.BaseName, i.args)
}

func expand(t *testing.T, word string, vars map[string]string) string {
	t.Helper()
	var env []string
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	out, _, err := shell.NewLex('\\').ProcessWord(word, shell.EnvsFromSlice(env))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func commands[T instructions.Command](s instructions.Stage) (out []T) {
	for _, c := range s.Commands {
		if c, ok := c.(T); ok {
			out = append(out, c)
		}
	}
	return out
}

// The image names its bases exactly, both of one Debian, and does not run as root.
func TestDockerfile(t *testing.T) {
	i := readDockerfile(t)
	if len(i.stages) != 2 {
		t.Fatalf("%d stages", len(i.stages))
	}
	build, final := i.from(t, i.stages[0]), i.from(t, i.stages[1])
	version := regexp.MustCompile(`^golang:1\.(\d+)\.(\d+)-([a-z]+)$`).FindStringSubmatch(build)
	debian := regexp.MustCompile(`^debian:([a-z]+)-slim$`).FindStringSubmatch(final)
	if version == nil || debian == nil || version[3] != debian[1] {
		t.Fatalf("built in %s, run in %s: not the same Debian, or not named exactly", build, final)
	}
	mod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	wants := regexp.MustCompile(`(?m)^go 1\.(\d+)(?:\.(\d+))?$`).FindStringSubmatch(string(mod))
	if wants == nil || number(version[1]) < number(wants[1]) || number(version[1]) == number(wants[1]) && number(version[2]) < number(wants[2]) {
		t.Errorf("go.mod wants %q, and the image has %s", wants, build)
	}

	last := i.stages[1]
	users := commands[*instructions.UserCommand](last)
	if len(users) == 0 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(users[len(users)-1].User) {
		t.Error("the user is no number, or root")
	}
	if e := commands[*instructions.EntrypointCommand](last); len(e) != 1 || e[0].PrependShell {
		t.Error("a shell between the process and its signals")
	}
	if c := commands[*instructions.CmdCommand](last); len(c) != 1 || c[0].PrependShell {
		t.Error("the command is no list")
	}
	for _, s := range i.stages {
		if len(commands[*instructions.AddCommand](s)) > 0 {
			t.Error("ADD fetches and unpacks without being asked: use COPY")
		}
		if len(commands[*instructions.EnvCommand](s)) > 0 {
			t.Error("an environment in the image: nothing may hang on it")
		}
	}
}

func number(text string) int {
	n, _ := strconv.Atoi(text) // digits, or nothing
	return n
}

// context is what Docker sends to the builder: what .dockerignore leaves.
func context(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(root + "/.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := ignored.MatchesOrParentMatches("coverage.out"); err != nil || !out {
		t.Fatalf("%t %v", out, err)
	}
	var files []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		out, err := ignored.MatchesOrParentMatches(rel)
		switch {
		case err != nil:
			return err
		case out && d.IsDir():
			return filepath.SkipDir
		case !out && d.Type().IsRegular():
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Nothing large, secret or changing lies in the context.
func TestContext(t *testing.T) {
	files := context(t)
	var size int64
	for _, file := range files {
		info, err := os.Stat(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 20<<20 {
		t.Errorf("the context has %d MB", size>>20)
	}
	for _, never := range []string{".git", ".cache", "bin", "data", "deploy"} {
		if at := slices.IndexFunc(files, func(f string) bool { return f == never || strings.HasPrefix(f, never+"/") }); at >= 0 {
			t.Errorf("%s is sent to the builder", files[at])
		}
	}
	for _, always := range []string{"go.mod", "go.sum", "Makefile", "LICENSE", "cmd/millrace/main.go", "examples/shop/millrace.yaml"} {
		if !slices.Contains(files, always) {
			t.Errorf("%s is not sent to the builder", always)
		}
	}
}

// stage runs the steps of a stage in a folder that stands for its root: its RUN
// lines by the shell, its COPY lines from the context.
type stage struct {
	t    *testing.T
	root string
	dir  string
	vars map[string]string
}

func (s *stage) path(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	return filepath.Join(s.root, path)
}

func (s *stage) run(c instructions.Command, files []string) {
	s.t.Helper()
	switch c := c.(type) {
	case *instructions.WorkdirCommand:
		s.dir = c.Path
	case *instructions.ArgCommand:
		for _, arg := range c.Args {
			if _, given := s.vars[arg.Key]; !given {
				s.vars[arg.Key] = arg.ValueString()
			}
		}
	case *instructions.CopyCommand:
		for _, source := range c.SourcePaths {
			s.copy(source, c.DestPath, files)
		}
	case *instructions.RunCommand:
		cmd := exec.CommandContext(s.t.Context(), "sh", "-c", strings.Join(c.CmdLine, " "))
		cmd.Dir = s.path("")
		cmd.Env = os.Environ()
		for name, value := range s.vars {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%s: %v\n%s", c, err, out)
		}
	default:
		s.t.Fatalf("what %T does here is not known to this test", c)
	}
}

func (s *stage) copy(source, dest string, files []string) {
	s.t.Helper()
	n := 0
	for _, file := range files {
		if source != "." && file != source && !strings.HasPrefix(file, source+"/") {
			continue
		}
		n++
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			s.t.Fatal(err)
		}
		to := filepath.Join(s.path(dest), file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			s.t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, file))
		if err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode()); err != nil {
			s.t.Fatal(err)
		}
	}
	if n == 0 {
		s.t.Errorf("COPY %s: nothing of that name is in the context", source)
	}
}

// The steps of the build stage, run in a bare folder, make all that the last
// stage copies; the binary runs, and needs no library that the last stage lacks.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds the binary")
	}
	i := readDockerfile(t)
	build := &stage{t: t, root: t.TempDir(), dir: "/", vars: map[string]string{"VERSION": "v0.0.0-test"}}
	files := context(t)
	for _, c := range i.stages[0].Commands {
		build.run(c, files)
	}
	copied := map[string]string{}
	for _, c := range commands[*instructions.CopyCommand](i.stages[1]) {
		if c.From != i.stages[0].Name {
			t.Errorf("%s: the last stage takes from the build alone", c)
		}
		for _, source := range c.SourcePaths {
			if _, err := os.Stat(filepath.Join(build.root, source)); err != nil {
				t.Errorf("%s: the build stage makes no such file", c)
			}
			copied[c.DestPath] = filepath.Join(build.root, source)
		}
	}
	entry := commands[*instructions.EntrypointCommand](i.stages[1])[0].CmdLine[0]
	binary := copied[entry]
	out, err := exec.CommandContext(t.Context(), binary, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v0.0.0-test") {
		t.Errorf("version: %v %s", err, out)
	}
	command := commands[*instructions.CmdCommand](i.stages[1])[0].CmdLine
	if out, err := exec.CommandContext(t.Context(), binary, command[0], "--help").CombinedOutput(); err != nil || !strings.Contains(string(out), "--config") {
		t.Errorf("the image's command: %v %s", err, out)
	}
	if strings.Contains(text(t, binary), build.root) {
		t.Error("the binary names the folder in which it was built: another folder would give another binary")
	}
	libraries(t, binary, i.stages[1])
}

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// libraries compares what the binary is linked with with what the stage installs.
func libraries(t *testing.T, binary string, last instructions.Stage) {
	t.Helper()
	for _, tool := range []string{"ldd", "dpkg-query"} {
		if _, err := exec.LookPath(tool); err != nil {
			const words = "%s is missing: whether the image has the libraries of the binary is for a Debian to say"
			if os.Getenv("CI") == "true" {
				t.Fatalf(words, tool)
			}
			t.Skipf(words, tool)
		}
	}
	installs := ""
	for _, c := range commands[*instructions.RunCommand](last) {
		installs += strings.Join(c.CmdLine, " ")
	}
	has := []string{"libc6"} // of the image itself, as of every Debian
	for _, m := range regexp.MustCompile(`apt-get install ([^&]*)`).FindAllStringSubmatch(installs, -1) {
		for _, word := range strings.Fields(m[1]) {
			if !strings.HasPrefix(word, "-") && word != `\` {
				has = append(has, word)
			}
		}
	}
	for n := 0; n < len(has); n++ {
		out, err := exec.CommandContext(t.Context(), "dpkg-query", "--show", "--showformat=${Depends}", has[n]).Output()
		if err != nil {
			continue // not on this machine: it can bring nothing that the binary has found
		}
		for _, dep := range strings.FieldsFunc(string(out), func(r rune) bool { return r == ',' || r == '|' }) {
			if name := strings.Fields(dep)[0]; !slices.Contains(has, name) {
				has = append(has, name)
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), "ldd", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range regexp.MustCompile(`=> (/\S+)`).FindAllStringSubmatch(string(out), -1) {
		owner, err := exec.CommandContext(t.Context(), "dpkg-query", "--search", "*/"+filepath.Base(m[1])).Output()
		if err != nil {
			t.Errorf("%s belongs to no package", m[1])
			continue
		}
		found++
		name, _, _ := strings.Cut(string(owner), ":")
		if !slices.Contains(has, name) {
			t.Errorf("the binary needs %s of package %s, and the image installs %s", m[1], name, fmt.Sprint(has))
		}
	}
	if found < 3 {
		t.Errorf("only %d libraries were looked at:\n%s", found, out)
	}
}
