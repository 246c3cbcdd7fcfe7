package archtest

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Every test that the guarantees name is there.
func TestGuaranteesNameTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("grep", "-rhoE", "--include=*.go", `func Test[A-Za-z0-9_]+|\{"[A-Z][A-Za-z]+", [a-zA-Z]+\}`, "../..").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := string(out)
	names := regexp.MustCompile(`Test[A-Z][A-Za-z0-9]+(/[A-Za-z]+)?`).FindAllString(string(text), -1)
	if len(names) < 30 {
		t.Fatalf("only %d tests are named", len(names))
	}
	for _, name := range names {
		test, sub, _ := strings.Cut(name, "/")
		if !regexp.MustCompile(`func ` + test + `\b`).MatchString(known) {
			t.Errorf("docs/guarantees.md names %s, which is not there", test)
		}
		if sub != "" && !strings.Contains(known, `{"`+sub+`"`) {
			t.Errorf("docs/guarantees.md names the case %s, which is not there", sub)
		}
	}
}
