// Package avro turns changes into Avro bytes and back.
//
// A table's schema is compiled once into a flat program, and the program runs
// over cells and bytes: no map, no boxed value and, once the destination has
// room, no allocation per event. The bytes are plain Avro in the Confluent wire
// format; any Avro library reads them with the schema of ValueSchema, and any
// may write them. The decoder takes nothing on trust: whatever is not exactly a
// value of the writer's schema is an error, because what cannot be understood
// must not land (G12).
//
// It does not talk to a registry; package registry does.
package avro
