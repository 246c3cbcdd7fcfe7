package bigqueryfake

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// step is a statement of a script, or an IF with its branches.
type step struct {
	nodes     []node
	condition []node
	then, els []step
}

// parseScript splits a text into steps.
func parseScript(text string) ([]step, error) {
	tokens, err := scan(text)
	if err != nil {
		return nil, invalidQuery("%s", err)
	}
	list, err := nest(tokens)
	if err != nil {
		return nil, err
	}
	steps, rest, err := parseSteps(list)
	if err == nil && len(rest) > 0 {
		err = invalidQuery("Syntax error: Unexpected %q at [%d:%d]", rest[0].text, rest[0].line, rest[0].col)
	}
	if err == nil && len(steps) == 0 {
		err = invalidQuery("Syntax error: Unexpected end of script")
	}
	return steps, err
}

// parseSteps reads steps up to one of the ends.
func parseSteps(list []node, ends ...string) (steps []step, rest []node, err error) {
	for {
		for skipWords(&list, ";") {
		}
		if len(list) == 0 || list[0].word(ends...) {
			return steps, list, nil
		}
		if !list[0].word("IF") {
			end := find(list, ";")
			if end < 0 {
				end = len(list)
			}
			steps = append(steps, step{nodes: list[:end]})
			list = list[end:]
			continue
		}
		var s step
		if s, list, err = parseIf(list); err != nil {
			return nil, nil, err
		}
		steps = append(steps, s)
	}
}

func parseIf(list []node) (s step, rest []node, err error) {
	at, depth := 1, 0
	for ; at < len(list) && (depth > 0 || !list[at].word("THEN")); at++ {
		switch {
		case list[at].word("CASE"):
			depth++
		case list[at].word("END"):
			depth--
		}
	}
	if at == len(list) {
		return s, nil, invalidQuery("Syntax error: Expected keyword THEN")
	}
	s.condition = list[1:at]
	if s.then, rest, err = parseSteps(list[at+1:], "ELSE", "ELSEIF", "END"); err != nil {
		return s, nil, err
	}
	if skipWords(&rest, "ELSE") {
		if s.els, rest, err = parseSteps(rest, "END"); err != nil {
			return s, nil, err
		}
	}
	if !skipWords(&rest, "END", "IF") {
		return s, nil, invalidQuery("Syntax error: Expected END IF")
	}
	return s, rest, nil
}

// session runs a job's statements on one connection.
type session struct {
	*Fake
	conn     *sql.Conn
	text     string // of the whole
	params   map[string]string
	defaults string // the dataset that an unqualified name is looked up in; may be empty
	vars     map[string]*variable
	temps    map[string]*table
	most     int64 // bytes billed, of a script; 0: no cap
	txn      *transaction
	rows     int64 // @@row_count
	affected int64 // rows that statements changed
	last     *result
	stats    statistics
}

// statistics are what a job tells of itself.
type statistics struct {
	kind       string // of its statement
	statements int64
	referenced []*table
	inserted   int64
	updated    int64
	deleted    int64
}

func (s *session) run(ctx context.Context, steps []step) error {
	for _, at := range steps {
		if at.condition != nil {
			ok, err := s.condition(ctx, at.condition)
			if err != nil {
				return err
			}
			branch := at.then
			if !ok {
				branch = at.els
			}
			if err := s.run(ctx, branch); err != nil {
				return err
			}
			continue
		}
		if err := s.statementFault(ctx, at.nodes); err != nil {
			return err
		}
		if err := s.execute(ctx, at.nodes); err != nil {
			return s.located(err, at.nodes[0].token)
		}
		if err := s.capped(ctx); err != nil {
			return err
		}
	}
	return nil
}

// located says where in a script an error was made.
func (s *session) located(err error, at token) error {
	api := apiErrorOf(err)
	if api.reason == "invalidQuery" && !strings.HasSuffix(api.message, "]") {
		return &apiError{api.code, api.reason, fmt.Sprintf("%s at [%d:%d]", api.message, at.line, at.col)}
	}
	return api
}

func (s *session) statementFault(ctx context.Context, nodes []node) error {
	fault := s.faults.at("statement " + strings.ToUpper(nodes[0].text))
	switch fault.kind {
	case faultRefuse:
		return fault.api
	case faultHang:
		return s.hang(ctx, fault)
	}
	return nil
}

// hang waits until the fault, the job or the fake ends.
func (f *Fake) hang(ctx context.Context, fault Fault) error {
	select {
	case <-fault.release:
		return nil
	case <-f.faults.done():
	case <-ctx.Done():
	}
	return errStopped
}

var errStopped = &apiError{499, "stopped", "Job execution was cancelled: User requested cancellation"}

func (s *session) execute(ctx context.Context, nodes []node) error {
	s.stats.statements++
	kind := strings.ToUpper(nodes[0].text)
	switch {
	case nodes[0].group(), kind == "SELECT", kind == "WITH":
		s.stats.kind = "SELECT"
		return s.query(ctx, nodes)
	case kind == "INSERT", kind == "UPDATE", kind == "DELETE", kind == "MERGE", kind == "TRUNCATE":
		s.stats.kind = kind
		return s.dml(ctx, kind, nodes)
	case kind == "CREATE", kind == "ALTER", kind == "DROP":
		return s.define(ctx, nodes)
	case kind == "DECLARE":
		return s.declare(ctx, nodes[1:])
	case kind == "SET":
		return s.set(ctx, nodes[1:])
	case kind == "ASSERT":
		return s.assert(ctx, nodes[1:])
	case words(nodes, "BEGIN", "TRANSACTION"), kind == "BEGIN" && len(nodes) == 1:
		return s.begin(ctx)
	case words(nodes, "COMMIT", "TRANSACTION"), kind == "COMMIT" && len(nodes) == 1:
		return s.commit(ctx)
	case words(nodes, "ROLLBACK", "TRANSACTION"), kind == "ROLLBACK" && len(nodes) == 1:
		return s.rollback(ctx)
	}
	return refused("a statement that begins with %s is not in its set", kind)
}

// translator translates for this session, as of now.
func (s *session) translator() *translator {
	return &translator{
		table: s.resolve, has: s.has, used: map[string]bool{}, params: s.params, nowUs: s.Now().UnixMicro(),
		variable: func(name string) (string, bool) {
			if v := s.vars[strings.ToLower(name)]; v != nil {
				return v.literal, true
			}
			return "", false
		},
		system: func(name string) (string, bool) { return strconv.FormatInt(s.rows, 10), name == "row_count" },
	}
}

// resolve finds what a path in FROM stands for.
func (s *session) resolve(path []string) (text string, found *table, err error) {
	if t := s.temps[path[len(path)-1]]; len(path) == 1 && t != nil {
		return t.physical, t, nil
	}
	t, err := s.lookup(path)
	if err != nil {
		return "", nil, err
	}
	s.stats.referenced = append(s.stats.referenced, t)
	if !t.isView() {
		return t.physical, t, nil
	}
	inner := s.translator()
	inner.variable = func(string) (string, bool) { return "", false }
	query, err := inner.statement(t.view)
	return "(" + query + ")", t, err
}

// lookup finds a table that is there for all.
func (s *session) lookup(path []string) (*table, error) {
	if len(path) == 1 && s.defaults != "" {
		path = []string{s.defaults, path[0]}
	}
	if len(path) == 3 {
		if path[0] != s.opts.Project {
			return nil, &apiError{403, "accessDenied", fmt.Sprintf("Access Denied: Table %s:%s.%s: User does not have permission to query table, or perhaps it does not exist.", path[0], path[1], path[2])}
		}
		path = path[1:]
	}
	if len(path) != 2 {
		return nil, invalidQuery("Table %q must be qualified with a dataset (e.g. dataset.table).", strings.Join(path, "."))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, missing := s.tableAt(path[0], path[1])
	if missing != nil {
		return nil, missing
	}
	return t, nil
}

func (s *session) condition(ctx context.Context, list []node) (bool, error) {
	text, err := s.translator().statement(list)
	if err != nil {
		return false, err
	}
	var ok sql.NullBool
	s.ddl.RLock()
	defer s.ddl.RUnlock()
	err = s.conn.QueryRowContext(ctx, "SELECT ("+text+")").Scan(&ok)
	return ok.Bool, err
}

func (s *session) assert(ctx context.Context, list []node) error {
	message := ""
	if n := len(list); n > 2 && list[n-2].word("AS") && list[n-1].kind == tokenString {
		message, list = list[n-1].text, list[:n-2]
	}
	ok, err := s.condition(ctx, list)
	if err != nil {
		return err
	}
	if !ok && !s.opts.Discard {
		return invalidQuery("Assertion failed: %s", message)
	}
	return nil
}
