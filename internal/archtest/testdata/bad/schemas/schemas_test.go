package schemas

import (
	_ "pgregory.net/rapid"
	_ "testing"
)
