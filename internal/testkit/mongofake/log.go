package mongofake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// record is what the log's file holds at once or not at all: the entries of one
// commit and the session that must not run it twice.
type record struct {
	kind    string
	at      uint64
	entries []*entry
	session bson.Raw // empty: none
	txn     int64
	reply   bson.Raw
}

const (
	recordCommit = "commit"
	recordNoop   = "noop"   // the cluster time went on
	recordForget = "forget" // the oplog begins here
)

// journal is the file that all state is read back from. A record is its length,
// its checksum and a document. What is appended has reached the operating
// system: it survives the process, not the machine.
type journal struct {
	file *os.File
	buf  []byte
	err  error // of a write: what follows would stand behind a torn record
}

const recordHead = 8

// openJournal reads the records of a folder's log and drops a torn tail.
func openJournal(dir string, read func(*record) error) (*journal, error) {
	file, err := os.OpenFile(filepath.Join(dir, "oplog"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if err := readJournal(file, read); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &journal{file: file}, nil
}

func readJournal(file *os.File, read func(*record) error) error {
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("lock the log, which another fake may have: %w", err)
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	good := 0
	for {
		doc := nextRecord(data[good:])
		if doc == nil {
			break
		}
		if err := read(decodeRecord(doc)); err != nil {
			return err
		}
		good += recordHead + len(doc)
	}
	if err := file.Truncate(int64(good)); err != nil {
		return fmt.Errorf("drop the log's torn tail: %w", err)
	}
	if _, err := file.Seek(int64(good), io.SeekStart); err != nil {
		return fmt.Errorf("find the log's end: %w", err)
	}
	return nil
}

// nextRecord is the document at the front; nil if it is not whole.
func nextRecord(data []byte) bson.Raw {
	if len(data) < recordHead {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(data))
	if n < 5 || n > len(data)-recordHead {
		return nil
	}
	doc := data[recordHead : recordHead+n : recordHead+n]
	if crc32.ChecksumIEEE(doc) != binary.LittleEndian.Uint32(data[4:]) {
		return nil
	}
	return doc
}

func (j *journal) append(r *record) error {
	if j.file == nil {
		return nil // it keeps nothing
	}
	if j.err != nil {
		return j.err
	}
	j.buf = append(j.buf[:0], make([]byte, recordHead)...)
	w := newBuilder(j.buf)
	encodeRecord(w, r)
	doc := w.doc()
	j.buf = w.b
	binary.LittleEndian.PutUint32(j.buf, uint32(len(doc)))
	binary.LittleEndian.PutUint32(j.buf[4:], crc32.ChecksumIEEE(doc))
	if _, err := j.file.Write(j.buf); err != nil {
		j.err = fmt.Errorf("write the log: %w", err)
	}
	return j.err
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}

func encodeRecord(w *builder, r *record) {
	w.str("kind", r.kind)
	w.time("at", r.at)
	if r.session != nil {
		w.raw("session", r.session)
		w.long("txn", r.txn)
		w.raw("reply", r.reply)
	}
	w.openArray("entries")
	for _, e := range r.entries {
		w.open("")
		encodeEntry(w, e)
		w.end()
	}
	w.end()
}

func encodeEntry(w *builder, e *entry) {
	w.str("kind", string(e.kind))
	w.time("at", e.at)
	w.int("op", e.op)
	w.str("db", e.ns.db)
	w.str("coll", e.ns.coll)
	w.long("wall", e.wall)
	w.uuid("id", e.coll)
	w.bool("images", e.images)
	if e.to != (namespace{}) {
		w.str("todb", e.to.db)
		w.str("tocoll", e.to.coll)
	}
	if e.id.Type != 0 && e.doc == nil {
		w.value("key", e.id)
	}
	for _, part := range []struct {
		key string
		doc bson.Raw
	}{{"doc", e.doc}, {"desc", e.desc}, {"paths", e.paths}, {"detail", e.detail}, {"session", e.session}} {
		if part.doc != nil {
			w.raw(part.key, part.doc)
		}
	}
	if e.session != nil {
		w.long("txn", e.txn)
	}
}

func decodeRecord(doc bson.Raw) *record {
	r := &record{}
	for key, v := range each(doc) {
		switch key {
		case "kind":
			r.kind = text(v)
		case "at":
			r.at, _ = timestamp(v)
		case "session":
			r.session = docOf(v)
		case "txn":
			r.txn = number(v)
		case "reply":
			r.reply = docOf(v)
		case "entries":
			for _, e := range each(v.Value) {
				r.entries = append(r.entries, decodeEntry(docOf(e)))
			}
		}
	}
	return r
}

func decodeEntry(doc bson.Raw) *entry {
	e := &entry{}
	for key, v := range each(doc) {
		switch key {
		case "kind":
			e.kind = kind(text(v))
		case "at":
			e.at, _ = timestamp(v)
		case "op":
			e.op = int(number(v))
		case "db":
			e.ns.db = text(v)
		case "coll":
			e.ns.coll = text(v)
		case "wall":
			e.wall = number(v)
		case "id":
			_, data := v.Binary()
			copy(e.coll[:], data)
		case "images":
			e.images = v.Boolean()
		case "todb":
			e.to.db = text(v)
		case "tocoll":
			e.to.coll = text(v)
		case "key":
			e.id = v
		case "doc":
			e.doc = docOf(v)
			e.id = field(e.doc, "_id")
		case "desc":
			e.desc = docOf(v)
		case "paths":
			e.paths = docOf(v)
		case "detail":
			e.detail = docOf(v)
		case "session":
			e.session = docOf(v)
		case "txn":
			e.txn = number(v)
		}
	}
	return e
}
