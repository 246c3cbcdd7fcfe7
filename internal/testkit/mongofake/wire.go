package mongofake

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The bounds that hello announces.
const (
	maxDocument = 16 << 20
	maxMessage  = 48_000_000
	maxBatch    = 100_000
)

const (
	opReply = 1
	opQuery = 2004
	opMsg   = 2013

	flagChecksum   = 1
	flagMoreToCome = 2
)

// conn is one client's connection.
type conn struct {
	net.Conn
	login    *login
	loggedIn bool
	out      []byte
}

// request is one command as it came.
type request struct {
	conn *conn
	name string
	arg  bson.RawValue // the value of the command's name
	body bson.Raw
	db   string
	docs map[string][]bson.Raw // sections of kind 1

	id       int32
	legacy   bool // OP_QUERY, which only asks for hello
	noAnswer bool
}

// field is an option of the command.
func (r *request) field(key string) bson.RawValue { return field(r.body, key) }

// ns is the namespace of a command whose argument is a collection.
func (r *request) ns() namespace { return namespace{r.db, text(r.arg)} }

// documents are those of an array, however they came.
func (r *request) documents(key string) []bson.Raw {
	if docs, ok := r.docs[key]; ok {
		return docs
	}
	var out []bson.Raw
	for _, v := range elements(r.field(key)) {
		out = append(out, docOf(v))
	}
	return out
}

var errMalformed = errors.New("malformed message")

// readRequest reads the next message.
func readRequest(in *bufio.Reader) (*request, error) {
	var head [16]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head[:]))
	if n < len(head)+5 || n > maxMessage {
		return nil, fmt.Errorf("%w: %d bytes", errMalformed, n)
	}
	body := make([]byte, n-len(head)) // stored documents stay in it
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, err
	}
	r := &request{id: int32(binary.LittleEndian.Uint32(head[4:]))}
	var err error
	switch op := binary.LittleEndian.Uint32(head[12:]); op {
	case opMsg:
		err = r.readMsg(body)
	case opQuery:
		err = r.readQuery(body)
	default:
		err = fmt.Errorf("%w: opcode %d", errMalformed, op)
	}
	if err != nil {
		return nil, err
	}
	for key, v := range each(r.body) {
		r.name, r.arg = key, v
		break
	}
	if r.db == "" {
		r.db = text(r.field("$db"))
	}
	return r, nil
}

func (r *request) readMsg(body []byte) error {
	flags := binary.LittleEndian.Uint32(body)
	r.noAnswer = flags&flagMoreToCome != 0
	body = body[4:]
	if flags&flagChecksum != 0 {
		if len(body) < 4 {
			return errMalformed
		}
		body = body[:len(body)-4]
	}
	for len(body) > 0 {
		section := body[0]
		doc, rest, err := cut(body[1:])
		if err != nil {
			return err
		}
		switch section {
		case 0:
			if r.body = doc; bson.Raw(doc).Validate() != nil {
				return fmt.Errorf("%w: the body is no document", errMalformed)
			}
		case 1:
			if err := r.readSequence(doc[4:]); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: section %d", errMalformed, section)
		}
		body = rest
	}
	if r.body == nil {
		return fmt.Errorf("%w: no body", errMalformed)
	}
	return nil
}

func (r *request) readSequence(data []byte) error {
	end := bytes.IndexByte(data, 0)
	if end < 0 {
		return fmt.Errorf("%w: a sequence without a name", errMalformed)
	}
	key, data := string(data[:end]), data[end+1:]
	docs := []bson.Raw{}
	for len(data) > 0 {
		doc, rest, err := cut(data)
		if err != nil {
			return err
		}
		if err := bson.Raw(doc).Validate(); err != nil {
			return fmt.Errorf("%w: %s: %w", errMalformed, key, err)
		}
		docs = append(docs, doc)
		data = rest
	}
	if r.docs == nil {
		r.docs = map[string][]bson.Raw{}
	}
	r.docs[key] = docs
	return nil
}

// cut takes what begins with its own length off the front.
func cut(data []byte) (first, rest []byte, err error) {
	if len(data) < 4 {
		return nil, nil, errMalformed
	}
	n := int(binary.LittleEndian.Uint32(data))
	if n < 5 || n > len(data) {
		return nil, nil, errMalformed
	}
	return data[:n:n], data[n:], nil
}

func (r *request) readQuery(body []byte) error {
	if len(body) < 4 {
		return errMalformed
	}
	ns, rest, ok := bytes.Cut(body[4:], []byte{0})
	if !ok || len(rest) < 8 {
		return errMalformed
	}
	doc, _, err := cut(rest[8:])
	if err != nil || bson.Raw(doc).Validate() != nil {
		return errMalformed
	}
	db, _, _ := bytes.Cut(ns, []byte{'.'})
	r.body, r.db, r.legacy = doc, string(db), true
	return nil
}

// startReply is a builder whose document follows the head of the reply.
func (c *conn) startReply(r *request) *builder {
	head := 16 + 5
	if r.legacy {
		head = 16 + 20
	}
	return newBuilder(append(c.out[:0], make([]byte, head)...))
}

// finishReply completes the message of a builder's closed document.
func (c *conn) finishReply(r *request, w *builder) []byte {
	out := w.b
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	binary.LittleEndian.PutUint32(out[8:], uint32(r.id))
	binary.LittleEndian.PutUint32(out[12:], opMsg)
	if r.legacy {
		binary.LittleEndian.PutUint32(out[12:], opReply)
		binary.LittleEndian.PutUint32(out[32:], 1)
	}
	if cap(out) < 32<<20 {
		c.out = out
	}
	return out
}
