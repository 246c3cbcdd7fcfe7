// Package schemas is the vocabulary that crosses process boundaries: tables
// and their columns, changes, positions, and the event that announces a load.
//
// It promises plain values without behaviour that needs I/O, and it uses the
// standard library only. How these values look as bytes on Kafka is the
// subject of schemas/avro.
package schemas
