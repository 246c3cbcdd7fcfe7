package mysql

import (
	"fmt"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"millrace/schemas"
)

// form is what a column's values are to the server. Together with the
// character set it decides the column's type here, and how a value of the
// binlog or of a query becomes a cell.
type form uint8

const (
	formInt form = iota + 1
	formUnsigned64
	formYear
	formBit
	formFloat
	formDecimal
	formDate
	formDateTime
	formTimestamp
	formTime
	formText
	formBytes
	formEnum
	formSet
	formJSON
	formUUID
	formInet
)

// formNames are the forms that the binlog writes as another: they are kept with
// a version of a table, because the binlog alone does not tell them.
var formNames = map[form]string{formJSON: "json", formUUID: "uuid", formInet: "inet"}

func (f form) MarshalText() ([]byte, error) { return []byte(formNames[f]), nil }

func (f *form) UnmarshalText(text []byte) error {
	for form, name := range formNames {
		if name == string(text) {
			*f = form
			return nil
		}
	}
	return fmt.Errorf("column form %q is not known", text)
}

// column is one column as the binlog or the catalog describes it.
type column struct {
	name    string
	comment string
	form    form
	typ     schemas.Type
	text    charset // of text, enum, set and JSON

	// Of the binlog alone.
	wire   byte
	meta   uint16
	signed bool
	size   int      // of BINARY(n), whose trailing zero bytes the binlog leaves out
	labels [][]byte // of enum and set, in UTF-8
	hidden bool     // made by the server; no statement can name it
}

// typeOf is the type of a form. time is an integer, because the server's
// reaches from -838:59:59 to 838:59:59 and is no time of day; bit(64) and
// bigint unsigned do not fit 64 signed bits.
func typeOf(f form, bits, precision, scale int) schemas.Type {
	switch f {
	case formInt, formYear, formTime:
		return schemas.Type{Kind: schemas.Int}
	case formUnsigned64:
		return schemas.Type{Kind: schemas.Decimal, Precision: 20}
	case formBit:
		switch bits {
		case 1:
			return schemas.Type{Kind: schemas.Bool}
		case 64:
			return schemas.Type{Kind: schemas.Decimal, Precision: 20}
		}
		return schemas.Type{Kind: schemas.Int}
	case formFloat:
		return schemas.Type{Kind: schemas.Float}
	case formDecimal:
		return schemas.Type{Kind: schemas.Decimal, Precision: precision, Scale: scale}
	case formDate:
		return schemas.Type{Kind: schemas.Date}
	case formDateTime:
		return schemas.Type{Kind: schemas.DateTime}
	case formTimestamp:
		return schemas.Type{Kind: schemas.Timestamp}
	case formBytes:
		return schemas.Type{Kind: schemas.Bytes}
	case formJSON:
		return schemas.Type{Kind: schemas.JSON}
	default:
		return schemas.Type{Kind: schemas.String}
	}
}

// layout is how the binlog writes a row of a table: its TABLE_MAP, read once.
type layout struct {
	columns []column
	key     []int // ordinals of the primary key, among the columns that are not hidden
}

// hiddenPrefix names the columns that hold the hash of a long unique key: the
// binlog carries them, no statement can read them.
const hiddenPrefix = "DB_ROW_HASH_"

// layoutOf reads a TABLE_MAP with full metadata. forms says which columns are
// of a type that the binlog writes as another: JSON as text, UUID and INET as
// binary.
func (c *catalog) layoutOf(e *replication.TableMapEvent, forms map[string]form) (*layout, error) {
	names := e.ColumnNameString()
	if len(names) != int(e.ColumnCount) {
		return nil, errNoMetadata
	}
	l := &layout{columns: make([]column, len(names))}
	unsigned, collations := e.UnsignedMap(), e.CollationMap()
	labelSets, enums, sets := e.EnumSetCollationMap(), e.EnumStrValueMap(), e.SetStrValueMap()
	visible := make([]int, len(names))
	shown := 0
	for i, name := range names {
		col := column{name: name, wire: e.ColumnType[i], meta: e.ColumnMeta[i], signed: !unsigned[i]}
		collation := collations[i]
		var labels []string
		if e.IsEnumOrSetColumn(i) {
			col.wire = byte(e.ColumnMeta[i] >> 8)
			collation = labelSets[i]
			if labels = enums[i]; e.IsSetColumn(i) {
				labels = sets[i]
			}
		}
		if err := c.describe(&col, collation, labels, forms[name]); err != nil {
			return nil, fmt.Errorf("column %q: %w", name, err)
		}
		col.hidden = strings.HasPrefix(name, hiddenPrefix)
		if visible[i] = shown; !col.hidden {
			shown++
		}
		l.columns[i] = col
	}
	for i, ord := range e.PrimaryKey {
		if int(ord) >= len(names) || e.PrimaryKeyPrefix[i] != 0 {
			return nil, fmt.Errorf("the primary key holds a prefix of column %q, which does not identify a row", names[min(int(ord), len(names)-1)])
		}
		l.key = append(l.key, visible[ord])
	}
	return l, nil
}

// describe fills in what follows from the type that the binlog writes.
func (c *catalog) describe(col *column, collation uint64, labels []string, known form) error {
	bits, precision, scale := 0, 0, 0
	switch col.wire {
	case gomysql.MYSQL_TYPE_TINY, gomysql.MYSQL_TYPE_SHORT, gomysql.MYSQL_TYPE_INT24, gomysql.MYSQL_TYPE_LONG:
		col.form = formInt
	case gomysql.MYSQL_TYPE_LONGLONG:
		if col.form = formInt; !col.signed {
			col.form = formUnsigned64
		}
	case gomysql.MYSQL_TYPE_YEAR:
		col.form = formYear
	case gomysql.MYSQL_TYPE_FLOAT, gomysql.MYSQL_TYPE_DOUBLE:
		col.form = formFloat
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		col.form, precision, scale = formDecimal, int(col.meta>>8), int(col.meta&0xff)
	case gomysql.MYSQL_TYPE_BIT:
		col.form, bits = formBit, bitWidth(col.meta)
	case gomysql.MYSQL_TYPE_DATE:
		col.form = formDate
	case gomysql.MYSQL_TYPE_DATETIME2:
		col.form = formDateTime
	case gomysql.MYSQL_TYPE_TIMESTAMP2:
		col.form = formTimestamp
	case gomysql.MYSQL_TYPE_TIME2:
		col.form = formTime
	case gomysql.MYSQL_TYPE_ENUM:
		col.form = formEnum
	case gomysql.MYSQL_TYPE_SET:
		col.form = formSet
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING, gomysql.MYSQL_TYPE_STRING, gomysql.MYSQL_TYPE_BLOB:
		col.form = formText
	case gomysql.MYSQL_TYPE_GEOMETRY, gomysql.MYSQL_TYPE_VECTOR:
		col.form = formBytes
	case gomysql.MYSQL_TYPE_JSON:
		col.form = formJSON
	case gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_TIMESTAMP, gomysql.MYSQL_TYPE_TIME:
		return fmt.Errorf("its date or time is stored in the format of MySQL 5.5, which the binlog does not describe: ALTER TABLE … FORCE rewrites it")
	default:
		return fmt.Errorf("its type (number %d in the binlog) is not captured", col.wire)
	}
	if col.form == formText || col.form == formEnum || col.form == formSet {
		if err := c.describeText(col, collation, known); err != nil {
			return err
		}
	}
	for _, label := range labels {
		text, err := col.text.utf8Of([]byte(label))
		if err != nil {
			return fmt.Errorf("read its labels: %w", err)
		}
		col.labels = append(col.labels, text)
	}
	col.typ = typeOf(col.form, bits, precision, scale)
	return nil
}

func (c *catalog) describeText(col *column, collation uint64, known form) error {
	name, ok := c.collations[collation]
	if !ok {
		return fmt.Errorf("its collation (number %d) is not one of the server's", collation)
	}
	if name != binaryCharset {
		if known == formJSON && col.form == formText {
			col.form = formJSON
		}
		set, err := charsetOf(name)
		if err != nil {
			return err
		}
		col.text = set
		return nil
	}
	if col.form != formText {
		col.text = charset{name: "utf8mb4", ascii: true} // labels of an enum in binary
		return nil
	}
	if col.form = formBytes; col.wire == gomysql.MYSQL_TYPE_STRING {
		col.size = stringWidth(col.meta)
		if known == formUUID && col.size == 16 || known == formInet && (col.size == 4 || col.size == 16) {
			col.form = known
		}
	}
	return nil
}

func bitWidth(meta uint16) int { return int(meta>>8)*8 + int(meta&0xff) }

// stringWidth is the width of a CHAR or BINARY in bytes. Its two upper bits are
// hidden, inverted, in the byte that tells the type.
func stringWidth(meta uint16) int {
	kind, low := meta>>8, meta&0xff
	if kind&0x30 != 0x30 {
		return int(low | (kind&0x30^0x30)<<4)
	}
	return int(low)
}
