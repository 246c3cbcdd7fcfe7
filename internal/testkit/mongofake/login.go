package mongofake

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
)

const mechanism = "SCRAM-SHA-256"

const iterations = 4096 // the least that a client accepts

// login is a conversation that has begun.
type login struct{ *scram.ServerConversation }

func refusedLogin() error {
	return &commandError{code: 18, name: "AuthenticationFailed", message: "Authentication failed."}
}

// sasl is saslStart and saslContinue.
func (f *Fake) sasl(r *request, w *builder) error {
	if r.name == "saslStart" {
		return f.authenticate(r.conn, r.body, w)
	}
	return r.conn.step(r.body, w)
}

// authenticate begins a conversation with the client's first message.
func (f *Fake) authenticate(c *conn, start bson.Raw, w *builder) error {
	if f.opts.User == "" || text(field(start, "mechanism")) != mechanism {
		return refusedLogin()
	}
	if err := f.faults.at("login").err(); err != nil {
		return err
	}
	client, err := scram.SHA256.NewClient(f.opts.User, f.opts.Password, "")
	if err != nil {
		return fmt.Errorf("prepare the user's credentials: %w", err)
	}
	salt := make([]byte, sha256.Size-4)
	_, _ = rand.Read(salt) // never fails
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return fmt.Errorf("prepare the user's credentials: %w", err)
	}
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		if user != f.opts.User {
			return scram.StoredCredentials{}, errors.New("unknown user")
		}
		return stored, nil
	})
	if err != nil {
		return fmt.Errorf("prepare the login: %w", err)
	}
	c.login = &login{server.NewConversation()}
	return c.step(start, w)
}

// step answers the client's next message.
func (c *conn) step(message bson.Raw, w *builder) error {
	if c.login == nil {
		return refusedLogin()
	}
	_, payload, ok := field(message, "payload").BinaryOK()
	if !ok {
		return refusedLogin()
	}
	answer := ""
	if !c.login.Done() {
		var err error
		if answer, err = c.login.Step(string(payload)); err != nil {
			c.login = nil
			return refusedLogin()
		}
	}
	done := c.login.Done()
	c.loggedIn = c.loggedIn || done && c.login.Valid()
	w.int("conversationId", 1)
	w.bool("done", done)
	w.any("payload", bson.Binary{Data: []byte(answer)})
	return nil
}
