package schemas

import (
	_ "fmt"
	_ "github.com/google/uuid"
	_ "millrace/internal/retry"
	_ "millrace/schemas/avro"
)
