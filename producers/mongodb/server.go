package mongodb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"millrace/producers"
)

const connectPatience = 10 * time.Second

// snapshotAgain is the cure for a log that does not continue.
const snapshotAgain = "changes may be missing: " + producers.BeginAgain

// The server's numbers of the errors that mean something here.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeNamespaceNotFound    = 26
	codeCappedPositionLost   = 136
	codeInvalidResumeToken   = 260
	codeChangeStreamFatal    = 280
	codeHistoryLost          = 286
	codeTooLarge             = 10334
)

func halt(err error, hint string) error { return &producers.HaltError{Err: err, Hint: hint} }

// codeOf is the server's number of an error, or 0.
func codeOf(err error) int {
	var e mongo.ServerError
	if !errors.As(err, &e) {
		return 0
	}
	for _, code := range []int{
		codeUnauthorized, codeAuthenticationFailed, codeNamespaceNotFound, codeCappedPositionLost,
		codeInvalidResumeToken, codeChangeStreamFatal, codeHistoryLost, codeTooLarge,
	} {
		if e.HasErrorCode(code) {
			return code
		}
	}
	return 0
}

// server is what Open learns about the server.
type server struct {
	set   string // the name of the replica set
	major int
}

func (v server) atLeast(major int) bool { return v.major >= major }

// run runs a command and returns its whole answer. The driver repeats none.
func run(ctx context.Context, db *mongo.Database, cmd bson.D) ([]byte, error) {
	raw, err := db.RunCommand(ctx, cmd).Raw()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd[0].Key, err)
	}
	return raw, nil
}

// inspect is what the server is, and what of it a person must change.
func (s *source) inspect(ctx context.Context) (server, []error, error) {
	var v server
	hello, err := run(ctx, s.client.Database("admin"), bson.D{{Key: "hello", Value: 1}})
	if err != nil {
		return v, nil, connectError(err)
	}
	built, err := run(ctx, s.client.Database("admin"), bson.D{{Key: "buildInfo", Value: 1}})
	if err != nil {
		return v, nil, connectError(err)
	}
	return judge(hello, built)
}

// judge reads what a server says of itself.
func judge(hello, built []byte) (v server, faults []error, err error) {
	version := string(lookup(built, "version").text())
	if _, err := fmt.Sscanf(version, "%d.", &v.major); err != nil {
		return v, nil, fmt.Errorf("read the server's version %q: %w", version, err)
	}
	if !v.atLeast(5) {
		faults = append(faults, halt(fmt.Errorf("the server is MongoDB %s, which reads no snapshot at a cluster time", version),
			"this source captures MongoDB 5.0 or newer: upgrade the replica set"))
	}
	switch v.set = string(lookup(hello, "setName").text()); {
	case string(lookup(hello, "msg").text()) == "isdbgrid":
		faults = append(faults, halt(errors.New("the server is the router of a sharded cluster"),
			"this source captures replica sets: name the members of one in dsn"))
	case v.set == "":
		faults = append(faults, halt(errors.New("the server stands alone, and has no log of changes"),
			"start mongod with --replSet rs0, run rs.initiate() in mongosh, and write ?replicaSet=rs0 into dsn; one member is enough"))
	}
	return v, faults, nil
}

// joinHalts makes one HaltError of several, so that a person cures all at once.
func joinHalts(faults []error) error {
	if len(faults) == 1 {
		return faults[0]
	}
	var hints []string
	for _, err := range faults {
		var h *producers.HaltError
		if errors.As(err, &h) {
			hints = append(hints, h.Hint)
		}
	}
	return halt(errors.Join(faults...), strings.Join(hints, "; "))
}

// connectError says which faults of a connection only a person can cure. A
// server that cannot be reached may come back, so that is no HaltError.
func connectError(err error) error {
	err = fmt.Errorf("connect: %w", err)
	var selection mongo.CommandError
	switch {
	case codeOf(err) == codeAuthenticationFailed, strings.Contains(err.Error(), "auth error"):
		return halt(err, "correct user and password in dsn, or create the user; ?authSource=admin says in which database it is")
	case codeOf(err) == codeUnauthorized:
		return rightsError(err, "")
	case errors.As(err, &selection):
		return err
	}
	return fmt.Errorf("%w; check host and port in dsn, that the server runs, and that replicaSet is its name", err)
}

// rightsError makes a missing right a HaltError with its grant.
func rightsError(err error, db string) error {
	if codeOf(err) != codeUnauthorized {
		return err
	}
	role := `{role: "read", db: "` + db + `"}`
	if db == "" {
		role = `"readAnyDatabase"`
	}
	return halt(err, "in mongosh: db.getSiblingDB(\"admin\").grantRolesToUser(user, ["+role+"])")
}

// streamError says what ended the change stream.
func streamError(err error, db string) error {
	err = fmt.Errorf("read the change stream: %w", err)
	switch codeOf(err) {
	case codeHistoryLost, codeCappedPositionLost:
		return halt(err, snapshotAgain+"; a larger oplog, or storage.oplogMinRetentionHours, keeps changes longer")
	case codeTooLarge:
		return halt(err, "an event is larger than 16 MB, and only MongoDB 7.0 or newer splits it: upgrade, or turn images off for the collection; "+snapshotAgain)
	case codeChangeStreamFatal, codeInvalidResumeToken:
		return halt(err, snapshotAgain)
	}
	return rightsError(err, db)
}

// moment is the server's time, the cluster time up to which it had applied writes
// then, and whether it took writes itself.
type moment struct {
	now     time.Time
	applied uint64
	primary bool
}

func (s *source) clock(ctx context.Context) (moment, error) {
	hello, err := run(ctx, s.client.Database("admin"), bson.D{{Key: "hello", Value: 1}})
	if err != nil {
		return moment{}, connectError(err)
	}
	ms, ok := lookup(hello, "localTime").integer()
	applied, known := lookup(hello, "operationTime").timestamp()
	if !ok || !known {
		return moment{}, errors.New("the server's answer to hello has no localTime or no operationTime")
	}
	return moment{time.UnixMilli(ms), applied, lookup(hello, "isWritablePrimary").yes()}, nil
}

// settle waits until a majority has all writes up to a cluster time: the
// change stream, which shows only those, can then show them.
func (s *source) settle(ctx context.Context, applied uint64) error {
	t := s.cfg.Tables[0]
	db, collection, _ := t.split()
	at := bson.Timestamp{T: uint32(applied >> 32), I: uint32(applied)} //nolint:gosec // its two halves
	_, err := run(ctx, s.client.Database(db), bson.D{
		{Key: "find", Value: collection},
		{Key: "limit", Value: 1},
		{Key: "singleBatch", Value: true},
		{Key: "projection", Value: bson.D{{Key: "_id", Value: 1}}},
		{Key: "readConcern", Value: bson.D{{Key: "level", Value: "majority"}, {Key: "afterClusterTime", Value: at}}},
	})
	if err != nil {
		return rightsError(err, db)
	}
	return nil
}
