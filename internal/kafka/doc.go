// Package kafka holds what everything that talks to Kafka must agree on: the
// names of topics, the options of clients, how a topic is created, how a small
// compacted topic is read to its end, and that all partitions of a topic go to
// one member of a group (G5).
//
// It wraps no client: those who use it hold a *kgo.Client.
package kafka
