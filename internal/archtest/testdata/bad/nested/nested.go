package util

import _ "github.com/jackc/pgx/v5"
