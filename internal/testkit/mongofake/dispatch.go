package mongofake

import (
	"bufio"
	"errors"
	"net"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// handler answers a command into a reply that is open. f.mu is held.
type handler func(f *Fake, r *request, w *builder) error

// handlerOf is the handler of a command; nil if there is none.
func handlerOf(name string) handler {
	switch name {
	case "hello", "isMaster", "ismaster":
		return (*Fake).hello
	case "ping", "refreshSessions", "replSetGetStatus", "logout":
		return func(*Fake, *request, *builder) error { return nil }
	case "buildInfo", "buildinfo":
		return (*Fake).buildInfo
	case "saslStart", "saslContinue":
		return (*Fake).sasl
	case "endSessions", "killSessions":
		return (*Fake).endSessions
	case "insert":
		return (*Fake).insert
	case "update":
		return (*Fake).update
	case "delete":
		return (*Fake).delete
	case "findAndModify", "findandmodify":
		return (*Fake).findAndModify
	case "commitTransaction":
		return (*Fake).commitTransaction
	case "abortTransaction":
		return (*Fake).abortTransaction
	case "find":
		return (*Fake).find
	case "count":
		return (*Fake).count
	case "aggregate":
		return (*Fake).aggregate
	case "getMore":
		return (*Fake).getMore
	case "killCursors":
		return (*Fake).killCursors
	case "create":
		return (*Fake).create
	case "collMod":
		return (*Fake).collMod
	case "drop":
		return (*Fake).drop
	case "dropDatabase":
		return (*Fake).dropDatabase
	case "renameCollection":
		return (*Fake).renameCollection
	case "createIndexes":
		return (*Fake).createIndexes
	case "dropIndexes":
		return (*Fake).dropIndexes
	case "listIndexes":
		return (*Fake).listIndexes
	case "listCollections":
		return (*Fake).listCollections
	case "listDatabases":
		return (*Fake).listDatabases
	}
	return nil
}

// serve answers the requests of a connection until it ends.
func (f *Fake) serve(nc net.Conn) {
	c := &conn{Conn: nc, loggedIn: f.opts.User == ""}
	defer func() {
		nc.Close()
		f.mu.Lock()
		delete(f.conns, nc)
		f.mu.Unlock()
	}()
	in := bufio.NewReaderSize(nc, 64<<10)
	for {
		r, err := readRequest(in)
		if err != nil {
			return // gone, or nothing that can be answered
		}
		r.conn = c
		out, ok := f.answer(r)
		if !ok {
			return
		}
		if r.noAnswer {
			continue
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

// answer runs a command and makes the reply; false cuts the connection.
func (f *Fake) answer(r *request) ([]byte, bool) {
	fault := f.faults.at(f.pointOf(r))
	if !f.suffer(fault, r) {
		return nil, false
	}
	w := r.conn.startReply(r)
	err := fault.err()
	if err == nil {
		err = f.run(r, w)
	}
	if fault.kind == faultLost {
		return nil, false
	}
	if err != nil {
		w = r.conn.startReply(r)
		writeError(w, err)
	} else {
		w.any("ok", 1.0)
	}
	f.mu.Lock()
	at, applied := f.clock.last, f.applied()
	f.mu.Unlock()
	w.open("$clusterTime")
	w.time("clusterTime", at)
	w.open("signature")
	w.any("hash", bson.Binary{Data: make([]byte, 20)})
	w.long("keyId", 0)
	w.end()
	w.end()
	w.time("operationTime", applied)
	w.doc()
	return r.conn.finishReply(r, w), true
}

func (f *Fake) run(r *request, w *builder) error {
	h := handlerOf(r.name)
	if r.name == "mongofake" {
		h = (*Fake).control
	}
	if h == nil {
		return &commandError{code: 59, name: "CommandNotFound", message: "no such command: '" + r.name + "'"}
	}
	if !r.conn.loggedIn && !beforeLogin(r.name) {
		return &commandError{code: 13, name: "Unauthorized", message: "Command " + r.name + " requires authentication"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	start := len(w.b)
	depth := len(w.stack)
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := h(f, r, w)
		if !errors.Is(err, errLocked) {
			return err
		}
		if !f.wait(deadline) {
			return &commandError{code: 50, name: "MaxTimeMSExpired", message: "a transaction holds the document"}
		}
		w.b, w.stack, w.index = w.b[:start], w.stack[:depth], w.index[:depth]
	}
}

func beforeLogin(name string) bool {
	switch name {
	case "hello", "isMaster", "ismaster", "ping", "buildInfo", "buildinfo", "saslStart", "saslContinue", "logout", "endSessions":
		return true
	}
	return false
}

func writeError(w *builder, err error) {
	var e *commandError
	if !errors.As(err, &e) {
		e = &commandError{code: 1, name: "InternalError", message: err.Error()}
	}
	w.any("ok", 0.0)
	w.str("errmsg", e.message)
	w.int("code", e.code)
	w.str("codeName", e.name)
	if len(e.labels) > 0 {
		w.any("errorLabels", e.labels)
	}
}

func (f *Fake) hello(r *request, w *builder) error {
	if r.name == "hello" || truth(r.field("helloOk")) {
		w.bool("helloOk", true)
	}
	w.bool("isWritablePrimary", f.lagsAt == 0)
	w.bool("ismaster", f.lagsAt == 0)
	w.bool("secondary", f.lagsAt != 0)
	w.str("setName", f.opts.ReplicaSet)
	w.int("setVersion", 1)
	w.any("hosts", []string{f.addr})
	w.str("primary", f.addr)
	w.str("me", f.addr)
	w.int("maxBsonObjectSize", maxDocument)
	w.int("maxMessageSizeBytes", maxMessage)
	w.int("maxWriteBatchSize", maxBatch)
	w.date("localTime", f.now().UnixMilli())
	w.int("logicalSessionTimeoutMinutes", 30)
	w.int("minWireVersion", 0)
	w.int("maxWireVersion", 21)
	w.bool("readOnly", false)
	w.open("lastWrite")
	w.open("opTime")
	w.time("ts", f.applied())
	w.long("t", 1)
	w.end()
	w.date("lastWriteDate", int64(f.applied()>>32)*1000)
	w.end()
	if f.opts.User != "" {
		w.any("saslSupportedMechs", []string{mechanism})
		if start := docOf(r.field("speculativeAuthenticate")); start != nil {
			w.open("speculativeAuthenticate")
			defer w.end()
			return f.authenticate(r.conn, start, w)
		}
	}
	return nil
}

func (f *Fake) buildInfo(_ *request, w *builder) error {
	w.str("version", "7.0.99")
	w.any("versionArray", []int32{7, 0, 99, 0})
	w.str("gitVersion", "mongofake")
	w.any("modules", []string{})
	w.int("bits", 64)
	w.int("maxBsonObjectSize", maxDocument)
	w.str("storageEngine", "mongofake")
	return nil
}
