// Package mysql captures MariaDB and MySQL: their binlog as changes, their tables
// as snapshots. Which of the two it is, the server says; what differs between
// them is behind dialect.
//
// A change stands at (binlog file number, end of its outermost event in that
// file, ordinal of the row in it); a chunk of a snapshot is read at
// (file, position, FFFFFFFF), which MariaDB gives with a consistent snapshot, and
// which on MySQL is found out, or made by locking the table for a moment. The
// stream resumes at the ends of transactions alone, by file and position on the
// server that wrote them, and proves by GTID and by the file's creation time that
// it is still the same log.
//
// The package refuses, with what to do, whatever the binlog does not carry:
// row images that are not FULL, parts of JSON documents, statement-based changes,
// XA transactions, rows that a foreign key's cascade changes, system-versioned
// tables. A value that has no place in its column's type (a zero date, bytes that
// are not text of the column's character set) halts the table that holds it (G12).
//
// It does not follow a failover to another server.
package mysql
