package retry

import (
	_ "millrace/internal/demo"
	_ "millrace/schemas/avro"
	_ "testing"
	_ "testing/fstest"
)

func init() {}

type T struct{}

func (T) init() {}
