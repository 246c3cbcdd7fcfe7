package producers

import "millrace/schemas"

// encoder turns the changes of one version of a table into bytes.
type encoder interface {
	AppendKey(dst []byte, row schemas.Row) ([]byte, error)
	AppendValue(dst []byte, c *schemas.Change) ([]byte, error)
}

type codec struct {
	encoder     func(t *schemas.Table, connector string, keyID, valueID uint32) (encoder, error)
	keySchema   func(t *schemas.Table) string
	valueSchema func(t *schemas.Table) string
}
