// Package registry gives schemas their ids.
//
// Client speaks to any registry with the Confluent HTTP API. Registry is one
// that runs inside the process and keeps everything in one compacted Kafka
// topic, for where there is no other: it answers a write only when Kafka has
// it, checks compatibility as Avro defines it, and never gives one id to two
// schemas. One process owns the topic.
//
// It knows Avro schemas only, without references, contexts or rules.
package registry
