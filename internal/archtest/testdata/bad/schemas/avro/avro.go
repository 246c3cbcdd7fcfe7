package avro

import (
	_ "github.com/linkedin/goavro/v2"
	_ "github.com/twmb/avro"
	_ "millrace/producers"
	_ "millrace/schemas"
)
