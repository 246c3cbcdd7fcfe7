package batch

import (
	_ "github.com/HdrHistogram/hdrhistogram-go"
	_ "github.com/go-mysql-org/go-mysql/mysql"
	_ "github.com/twmb/avro"
	_ "github.com/xdg-go/scram"
	_ "go.mongodb.org/mongo-driver/v2/bson"
	_ "go.mongodb.org/mongo-driver/v2/mongo"
	_ "millrace/cmd/millrace"
)
