package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const module = "millrace"

// layers are the packages from the bottom to the top. A package may import its
// own layer and those under it; it belongs to the highest layer that names it
// or a folder above it.
var layers = []struct {
	name  string
	trees []string
}{
	{"the vocabulary", nil}, // schemas itself, without what lies below it
	{"what is shared", []string{"internal", "schemas", "examples"}},
	{"the services", []string{"producers", "consumers", "deriver"}},
	{"the wiring", []string{
		"cmd", loadtest,
		"internal/sim", "internal/up", "internal/demo", "internal/verify", "internal/page",
	}},
}

// strangers never import each other: Kafka is where they meet.
var strangers = []string{"producers", "consumers", "deriver"}

// client is a third-party library with the packages that may import it.
type client struct {
	library   string // with everything below it
	homes     []string
	tests     bool     // tests anywhere may
	testHomes []string // packages whose tests may
}

// testkit starts servers and fakes for tests.
const testkit = "internal/testkit"

// testTrees hold what only tests import.
var testTrees = []string{testkit, "producers/sourcetest", "internal/warehouse/warehousetest"}

// loadtest is a main of its own that measures: it drains what it measures by the
// clients themselves, starts stand-ins, and is never a part of what ships.
const loadtest = "loadtest"

// fakeBigQuery runs the statements that it is given on a DuckDB of its own.
const fakeBigQuery = testkit + "/bigqueryfake"

// fakeMongoDB speaks the wire protocol.
const fakeMongoDB = testkit + "/mongofake"

// A library that lies inside another stands before it.
var clients = []client{
	// The fake speaks the protocol's messages, not the clients; its tests do.
	{library: "cloud.google.com/go/bigquery/storage/apiv1/storagepb", homes: []string{"internal/warehouse/bigquery", fakeBigQuery}},
	{library: "cloud.google.com/go/bigquery", homes: []string{"internal/warehouse/bigquery"}, testHomes: []string{fakeBigQuery}},
	{library: "google.golang.org/api", homes: []string{"internal/warehouse/bigquery", fakeBigQuery}},
	// Tests, the demonstration and verify look at a DuckDB by plain SQL.
	{
		library: "github.com/duckdb/duckdb-go", tests: true,
		homes: []string{"internal/warehouse/duckdb", "internal/demo", "internal/verify", fakeBigQuery},
	},
	// verify reads topics by another library than what loads them.
	{library: "github.com/linkedin/goavro", homes: []string{"schemas/avro", "internal/verify"}, testHomes: []string{"internal/warehouse/bigquery"}},
	{library: "github.com/twmb/avro", homes: []string{"schemas/avro", "schemas/registry"}},
	{
		library: "github.com/jackc/pgx", tests: true,
		homes: []string{"producers/postgres", "internal/demo", "internal/verify", testkit, loadtest + "/source"},
	},
	{library: "github.com/jackc/pglogrepl", homes: []string{"producers/postgres", loadtest + "/source"}, tests: true},
	{library: "github.com/go-mysql-org/go-mysql", homes: []string{"producers/mysql", loadtest + "/source"}},
	{
		library: "github.com/go-sql-driver/mysql", tests: true,
		homes: []string{"producers/mysql", "internal/demo", "internal/verify", testkit, loadtest + "/source"},
	},
	{library: "github.com/HdrHistogram/hdrhistogram-go", homes: []string{loadtest + "/measure"}},
	// The stand-in reads and writes documents; its tests connect to it.
	{library: "go.mongodb.org/mongo-driver/v2/bson", homes: []string{"producers/mongodb", "internal/demo", "internal/verify", fakeMongoDB, loadtest + "/source"}},
	{library: "go.mongodb.org/mongo-driver", homes: []string{"producers/mongodb", "internal/demo", "internal/verify", loadtest + "/source"}, testHomes: []string{fakeMongoDB}},
	{library: "github.com/xdg-go/scram", homes: []string{fakeMongoDB}},
	{
		library: "github.com/twmb/franz-go/pkg/kfake", tests: true,
		homes: []string{"internal/kafka/embedded", testkit},
	},
	// What ships does not bring the flags of go test along.
	{library: "testing", homes: testTrees, tests: true},
}

// emptyNames say nothing about what a package is for.
var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc"}

// importFault says why the package in dir may not import the path; empty if it may.
func importFault(dir, imported string, inTest bool) string {
	own, inModule := strings.CutPrefix(imported, module+"/")
	if dir == "schemas" && !inTest && !inModule && strings.Contains(firstElement(imported), ".") {
		return "schemas uses the standard library only"
	}
	if inModule {
		if within(own, loadtest) && !within(dir, loadtest) {
			return "it measures, and what ships does not bring it along"
		}
		if withinAny(own, testTrees) && !inTest && !withinAny(dir, testTrees) && !within(dir, loadtest) {
			return "it is for tests alone, and what ships does not bring it along"
		}
		return layerFault(dir, own)
	}
	for _, c := range clients {
		if !within(imported, c.library) {
			continue
		}
		if inTest && (c.tests || withinAny(dir, c.testHomes)) || withinAny(dir, c.homes) {
			return "" // a library inside this one has no say
		}
		return "its home is " + strings.Join(c.homes, ", ")
	}
	return ""
}

func layerFault(dir, imported string) string {
	from, to := layerOf(dir), layerOf(imported)
	if from < 0 || to < 0 {
		return fmt.Sprintf("%s and %s must both be in the table of layers", dir, imported)
	}
	if to > from {
		return fmt.Sprintf("imports point down only, and the layer of %s is above that of %s", layers[to].name, layers[from].name)
	}
	mine, other := firstElement(dir), firstElement(imported)
	if mine != other && slices.Contains(strangers, mine) && slices.Contains(strangers, other) {
		return mine + " and " + other + " never import each other"
	}
	return ""
}

// layerOf is the greatest layer with a tree that holds dir, or -1.
func layerOf(dir string) int {
	if dir == "schemas" {
		return 0
	}
	for i, layer := range slices.Backward(layers) {
		if withinAny(dir, layer.trees) {
			return i
		}
	}
	return -1
}

// within reports whether p is tree or lies below it, by whole elements: pgx/v5
// is within pgx, pgxpool is not.
func within(p, tree string) bool {
	return p == tree || strings.HasPrefix(p, tree+"/")
}

func withinAny(p string, trees []string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return within(p, tree) })
}

func firstElement(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

func nameFault(dir, name string) string {
	for _, n := range []string{path.Base(dir), strings.TrimSuffix(name, "_test")} {
		if slices.Contains(emptyNames, n) {
			return "a package named " + n + " has no subject"
		}
	}
	return ""
}
