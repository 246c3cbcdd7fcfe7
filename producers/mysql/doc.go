// Package mysql captures MariaDB: its binlog as changes, its tables as
// snapshots.
//
// A change stands at (binlog file number, end of its outermost event in that
// file, ordinal of the row in it); a chunk of a snapshot is read at
// (file, position, FFFFFFFF), which MariaDB gives with a consistent snapshot and
// without a lock. The stream resumes at the ends of transactions alone, by file
// and position on the server that wrote them, and proves by GTID and by the
// file's creation time that it is still the same log.
//
// The package refuses, with what to do, whatever the binlog does not carry:
// row images that are not FULL, statement-based changes, XA transactions,
// rows that a foreign key's cascade changes, system-versioned tables. A value
// that has no place in its column's type (a zero date, bytes that are not text
// of the column's character set) halts the table that holds it (G12).
//
// It does not follow a failover to another server, and reads no MySQL yet: what
// differs between the two is in mariadb.go.
package mysql
