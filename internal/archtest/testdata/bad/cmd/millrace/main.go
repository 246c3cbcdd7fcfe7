package main

import (
	_ "millrace/consumers"
	_ "millrace/deriver"
	_ "millrace/internal/testkit/bigqueryfake"
	_ "millrace/internal/up"
	_ "millrace/loadtest/scenario"
	_ "millrace/producers"
)
