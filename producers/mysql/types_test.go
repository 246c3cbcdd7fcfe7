package mysql_test

import (
	"math"
	"math/big"

	"millrace/producers/sourcetest"
	"millrace/schemas"
)

func kind(k schemas.Kind) schemas.Type { return schemas.Type{Kind: k} }

func decimal(precision, scale int) schemas.Type {
	return schemas.Type{Kind: schemas.Decimal, Precision: precision, Scale: scale}
}

func ints(values ...int64) []schemas.Cell {
	out := make([]schemas.Cell, len(values))
	for i, v := range values {
		out[i] = schemas.IntCell(v)
	}
	return out
}

func floats(values ...float64) []schemas.Cell {
	out := make([]schemas.Cell, len(values))
	for i, v := range values {
		out[i] = schemas.FloatCell(v)
	}
	return out
}

func texts(values ...string) []schemas.Cell {
	out := make([]schemas.Cell, len(values))
	for i, v := range values {
		out[i] = schemas.BytesCell([]byte(v))
	}
	return out
}

func unscaled(values ...string) []schemas.Cell {
	out := make([]schemas.Cell, len(values))
	for i, v := range values {
		n, _ := new(big.Int).SetString(v, 10)
		out[i] = schemas.BytesCell(schemas.AppendBigTwos(nil, n))
	}
	return out
}

// typeCases is the table of types: what each is captured as, and the exact
// cells of values that are hard to keep. The suite demands them of the stream
// and of the snapshot alike (G3).
func typeCases() []sourcetest.TypeCase {
	return []sourcetest.TypeCase{
		{SQL: "TINYINT", Values: []string{"-128", "127"}, Type: kind(schemas.Int), Want: ints(-128, 127)},
		{SQL: "TINYINT(1)", Values: []string{"TRUE", "-7"}, Type: kind(schemas.Int), Want: ints(1, -7)},
		{SQL: "TINYINT UNSIGNED", Values: []string{"255", "0"}, Type: kind(schemas.Int), Want: ints(255, 0)},
		{SQL: "SMALLINT", Values: []string{"-32768", "32767"}, Type: kind(schemas.Int), Want: ints(-32768, 32767)},
		{SQL: "SMALLINT UNSIGNED", Values: []string{"65535"}, Type: kind(schemas.Int), Want: ints(65535)},
		{SQL: "MEDIUMINT", Values: []string{"-8388608", "8388607"}, Type: kind(schemas.Int), Want: ints(-8388608, 8388607)},
		{SQL: "MEDIUMINT UNSIGNED", Values: []string{"16777215"}, Type: kind(schemas.Int), Want: ints(16777215)},
		{SQL: "INT", Values: []string{"-2147483648", "2147483647"}, Type: kind(schemas.Int), Want: ints(math.MinInt32, math.MaxInt32)},
		{SQL: "INT UNSIGNED", Values: []string{"4294967295"}, Type: kind(schemas.Int), Want: ints(math.MaxUint32)},
		{SQL: "INT(5) ZEROFILL", Values: []string{"42"}, Type: kind(schemas.Int), Want: ints(42)},
		{SQL: "BIGINT", Values: []string{"-9223372036854775808", "9223372036854775807"}, Type: kind(schemas.Int), Want: ints(math.MinInt64, math.MaxInt64)},
		{
			SQL: "BIGINT UNSIGNED", Values: []string{"18446744073709551615", "9223372036854775808", "9223372036854775807", "0", "128"},
			Type: decimal(20, 0), Want: unscaled("18446744073709551615", "9223372036854775808", "9223372036854775807", "0", "128"),
		},
		{SQL: "YEAR", Values: []string{"0", "1901", "2155"}, Type: kind(schemas.Int), Want: ints(0, 1901, 2155)},
		{SQL: "BIT(1)", Values: []string{"b'1'", "b'0'"}, Type: kind(schemas.Bool), Want: ints(1, 0)},
		{SQL: "BIT(10)", Values: []string{"b'1010101010'"}, Type: kind(schemas.Int), Want: ints(682)},
		{SQL: "BIT(63)", Values: []string{"0x7FFFFFFFFFFFFFFF"}, Type: kind(schemas.Int), Want: ints(math.MaxInt64)},
		{SQL: "BIT(64)", Values: []string{"0xFFFFFFFFFFFFFFFF", "b'1'"}, Type: decimal(20, 0), Want: unscaled("18446744073709551615", "1")},
		{
			SQL: "FLOAT", Values: []string{"1.1", "-3.4028234e38", "1e-45", "16777216", "0"}, Type: kind(schemas.Float),
			Want: floats(float64(float32(1.1)), -math.MaxFloat32, math.SmallestNonzeroFloat32, 16777216, 0),
		},
		{SQL: "FLOAT(7,2)", Values: []string{"12345.67"}, Type: kind(schemas.Float), Want: floats(float64(float32(12345.67)))},
		{
			SQL: "DOUBLE", Values: []string{"2.2", "-1.7976931348623157e308", "5e-324", "0.1e0+0.2e0"}, Type: kind(schemas.Float),
			Want: floats(2.2, -math.MaxFloat64, math.SmallestNonzeroFloat64, 0.30000000000000004),
		},
		{SQL: "DOUBLE(10,2)", Values: []string{"1.005", "99999999.99"}, Type: kind(schemas.Float)},
		{
			SQL: "DECIMAL(65,30)", Values: []string{"12345678901234567890123456789012345.123456789012345678901234567890", "-0.000000000000000000000000000001", "0"},
			Type: decimal(65, 30), Want: unscaled("12345678901234567890123456789012345123456789012345678901234567890", "-1", "0"),
		},
		{SQL: "DECIMAL(65,0)", Values: []string{"-99999999999999999999999999999999999999999999999999999999999999999"}, Type: decimal(65, 0), Want: unscaled("-99999999999999999999999999999999999999999999999999999999999999999")},
		{SQL: "DECIMAL(10,2) UNSIGNED", Values: []string{"99999999.99", "0.05"}, Type: decimal(10, 2), Want: unscaled("9999999999", "5")},
		{SQL: "DECIMAL(3,3)", Values: []string{"-0.125"}, Type: decimal(3, 3), Want: unscaled("-125")},
		{SQL: "DECIMAL(18,9)", Values: []string{"-123456789.987654321"}, Type: decimal(18, 9), Want: unscaled("-123456789987654321")},
		{SQL: "DATE", Values: []string{"'1970-01-01'", "'2026-02-28'", "'1000-01-01'", "'9999-12-31'", "'0001-01-01'"}, Type: kind(schemas.Date), Want: ints(0, 20512, -354285, 2932896, -719162)},
		{SQL: "DATETIME", Values: []string{"'2026-01-02 03:04:05'", "'9999-12-31 23:59:59'", "'1000-01-01 00:00:00'"}, Type: kind(schemas.DateTime), Want: ints(1767323045e6, 253402300799e6, -354285*86400e6)},
		{SQL: "DATETIME(1)", Values: []string{"'2026-01-02 03:04:05.1'"}, Type: kind(schemas.DateTime), Want: ints(1767323045100000)},
		{SQL: "DATETIME(3)", Values: []string{"'2026-01-02 03:04:05.123'"}, Type: kind(schemas.DateTime), Want: ints(1767323045123000)},
		{SQL: "DATETIME(6)", Values: []string{"'2026-01-02 03:04:05.123456'", "'1969-12-31 23:59:59.999999'"}, Type: kind(schemas.DateTime), Want: ints(1767323045123456, -1)},
		{SQL: "TIMESTAMP NULL", Values: []string{"FROM_UNIXTIME(1767323045)", "FROM_UNIXTIME(1)", "FROM_UNIXTIME(2147483647)"}, Type: kind(schemas.Timestamp), Want: ints(1767323045e6, 1e6, 2147483647e6)},
		{SQL: "TIMESTAMP(4) NULL", Values: []string{"FROM_UNIXTIME(1767323045.6789)"}, Type: kind(schemas.Timestamp), Want: ints(1767323045678900)},
		{SQL: "TIMESTAMP(6) NULL", Values: []string{"FROM_UNIXTIME(1767323045.000001)"}, Type: kind(schemas.Timestamp), Want: ints(1767323045000001)},
		{SQL: "TIME", Values: []string{"'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'"}, Type: kind(schemas.Int), Want: ints(-3020399e6, 3020399e6, 0, -1e6)},
		{SQL: "TIME(2)", Values: []string{"'-00:00:00.01'", "'-00:00:01.10'", "'12:34:56.78'"}, Type: kind(schemas.Int), Want: ints(-10000, -1100000, 45296780000)},
		{SQL: "TIME(4)", Values: []string{"'-00:00:00.0001'", "'-01:00:00.5000'"}, Type: kind(schemas.Int), Want: ints(-100, -3600500000)},
		{SQL: "TIME(6)", Values: []string{"'12:34:56.789012'", "'-838:59:58.999999'", "'-00:00:00.000001'"}, Type: kind(schemas.Int), Want: ints(45296789012, -3020398999999, -1)},
		{SQL: "CHAR(10)", Values: []string{"'a b'", "''", "'trail   '", "'é😀'"}, Type: kind(schemas.String), Want: texts("a b", "", "trail", "é😀")},
		{SQL: "CHAR(200)", Values: []string{"REPEAT('é', 200)"}, Type: kind(schemas.String)},
		{SQL: "VARCHAR(20)", Values: []string{"'trail   '", "'héllo😀'", "''", "'a\\0b'"}, Type: kind(schemas.String), Want: texts("trail   ", "héllo😀", "", "a\x00b")},
		{SQL: "VARCHAR(300) CHARACTER SET latin1", Values: []string{"'é€'", "REPEAT('ü', 300)", "UNHEX('81')"}, Type: kind(schemas.String)},
		{SQL: "CHAR(5) CHARACTER SET ascii", Values: []string{"'abc'"}, Type: kind(schemas.String), Want: texts("abc")},
		{SQL: "VARCHAR(10) CHARACTER SET utf16", Values: []string{"'aé😀'"}, Type: kind(schemas.String), Want: texts("aé😀")},
		{SQL: "VARCHAR(10) CHARACTER SET ucs2", Values: []string{"'aé'"}, Type: kind(schemas.String), Want: texts("aé")},
		{SQL: "VARCHAR(10) CHARACTER SET cp1251", Values: []string{"'Привет'"}, Type: kind(schemas.String), Want: texts("Привет")},
		{SQL: "VARCHAR(10) CHARACTER SET sjis", Values: []string{"'日本'"}, Type: kind(schemas.String), Want: texts("日本")},
		{SQL: "VARCHAR(10) CHARACTER SET gbk", Values: []string{"'中文'"}, Type: kind(schemas.String), Want: texts("中文")},
		{SQL: "TINYTEXT", Values: []string{"'t'"}, Type: kind(schemas.String), Want: texts("t")},
		{SQL: "TEXT", Values: []string{"REPEAT('t', 300)", "'naïve'"}, Type: kind(schemas.String)},
		{SQL: "MEDIUMTEXT CHARACTER SET latin1", Values: []string{"'à'"}, Type: kind(schemas.String), Want: texts("à")},
		{SQL: "LONGTEXT", Values: []string{"REPEAT('x', 100000)"}, Type: kind(schemas.String)},
		{SQL: "BINARY(8)", Values: []string{"x'0102'", "x''", "x'0000000000000001'", "x'2020'"}, Type: kind(schemas.Bytes), Want: texts("\x01\x02\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x00\x00\x00\x01", "  \x00\x00\x00\x00\x00\x00")},
		{SQL: "VARBINARY(300)", Values: []string{"x'000100'", "x''"}, Type: kind(schemas.Bytes), Want: texts("\x00\x01\x00", "")},
		{SQL: "TINYBLOB", Values: []string{"x'ff00'"}, Type: kind(schemas.Bytes), Want: texts("\xff\x00")},
		{SQL: "BLOB", Values: []string{"REPEAT(x'fe', 1000)", "x''"}, Type: kind(schemas.Bytes)},
		{SQL: "LONGBLOB", Values: []string{"x'00'"}, Type: kind(schemas.Bytes), Want: texts("\x00")},
		{SQL: "ENUM('a','b,c','é')", Values: []string{"'a'", "'b,c'", "'é'"}, Type: kind(schemas.String), Want: texts("a", "b,c", "é")},
		{SQL: "ENUM('x','ü') CHARACTER SET latin1", Values: []string{"'ü'"}, Type: kind(schemas.String), Want: texts("ü")},
		{SQL: "SET('x','y','z')", Values: []string{"'x,z'", "''", "'z,y,x'"}, Type: kind(schemas.String), Want: texts("x,z", "", "x,y,z")},
		{SQL: "GEOMETRY", Values: []string{"ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('LINESTRING(0 0,1 1)', 4326)"}, Type: kind(schemas.Bytes)},
		{SQL: "POINT", Values: []string{"POINT(3, 4)"}, Type: kind(schemas.Bytes)},
	}
}

// mariadbTypes are the types that only MariaDB has, or keeps in its own way.
func mariadbTypes() []sourcetest.TypeCase {
	return []sourcetest.TypeCase{
		{SQL: "TIME(6)", Values: []string{"'-838:59:59.999999'"}, Type: kind(schemas.Int), Want: ints(-3020399999999)},
		{SQL: "VARCHAR(10) COLLATE uca1400_ai_ci", Values: []string{"'x'"}, Type: kind(schemas.String), Want: texts("x")},
		{SQL: "JSON", Values: []string{`'{"b":1,"a":[1.10,12345678901234567890,null]}'`, "'null'"}, Type: kind(schemas.JSON), Want: texts(`{"b":1,"a":[1.10,12345678901234567890,null]}`, "null")},
		{
			SQL: "UUID", Values: []string{"'6ba7b810-9dad-11d1-80b4-00c04fd430c8'", "'018F2B6C-1111-7222-8333-444455556600'", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"},
			Type: kind(schemas.String), Want: texts("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "018f2b6c-1111-7222-8333-444455556600", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
		},
		{SQL: "INET4", Values: []string{"'1.2.3.0'", "'0.0.0.0'"}, Type: kind(schemas.String), Want: texts("1.2.3.0", "0.0.0.0")},
		{SQL: "INET6", Values: []string{"'::1'", "'2001:db8::ff00:42:8329'", "'::ffff:1.2.3.4'", "'::1.2.3.4'", "'::'"}, Type: kind(schemas.String), Want: texts("::1", "2001:db8::ff00:42:8329", "::ffff:1.2.3.4", "::102:304", "::")},
	}
}

// mysqlTypes are MySQL's. Its JSON is a type of its own: the server orders the
// keys, keeps no number that is neither of 64 bits nor a double, and prints
// dates, decimals and bytes that SQL put into it in its own way.
func mysqlTypes() []sourcetest.TypeCase {
	return []sourcetest.TypeCase{
		{
			SQL: "JSON", Type: kind(schemas.JSON),
			Values: []string{
				`'{"bb":1,"a":[1.10,12345678901234567890,null,true,false,-0.0],"":{}}'`, "'null'", "'[]'", `'"x"'`, "'-1'",
				`'[32767,32768,-32768,-32769,65535,65536,2147483647,2147483648,-2147483649,4294967296,9223372036854775808,-9223372036854775808]'`,
				`'[1e20,1e15,1e14,123456789012345678.5,0.0001,1e-7,1e-14,1e-15,1e-16,5e-324,1.7976931348623157e308,0.30000000000000004,-1.5e-300,100.0,0.5,0.05,1.5,10.0]'`,
				`JSON_ARRAY(CONCAT('é😀/', CHAR(1), CHAR(9), CHAR(10), CHAR(13), CHAR(8), CHAR(12), CHAR(31), CHAR(127), '"', CHAR(92)))`,
				`JSON_OBJECT('n', CAST(1.10 AS DECIMAL(10,3)), 'm', CAST(-0.05 AS DECIMAL(4,2)), 'z', CAST(0 AS DECIMAL(30,0)), 'w', CAST(-12345678901234567890.123456789 AS DECIMAL(40,9)))`,
				`JSON_ARRAY(CAST('2026-01-02 03:04:05.678' AS DATETIME(3)), DATE'2026-12-31', TIME'-12:34:56.5', TIME'838:59:59', TIMESTAMP'1999-01-01 00:00:00')`,
				`JSON_ARRAY(CAST(REPEAT('x', 57) AS BINARY), CAST(REPEAT('y', 58) AS BINARY), x'', b'1010', CAST(1.1 AS FLOAT), POINT(1, 2))`,
				`JSON_OBJECT('k', REPEAT('v', 200), REPEAT('long', 50), JSON_ARRAY(1, JSON_OBJECT('deep', JSON_ARRAY(NULL))))`,
				`JSON_ARRAY(REPEAT('v', 70000), 1, 70000, -70000, TRUE, JSON_OBJECT('a', 70000, 'b', 1.5))`,
				`CAST(CONCAT(REPEAT('[', 99), REPEAT(']', 99)) AS JSON)`,
			},
		},
		{SQL: "VARCHAR(10) COLLATE utf8mb4_0900_ai_ci", Values: []string{"'x'", "'é😀'"}, Type: kind(schemas.String), Want: texts("x", "é😀")},
		{SQL: "VECTOR(3)", Values: []string{"TO_VECTOR('[1,2,-0.5]')"}, Type: kind(schemas.Bytes), Want: texts("\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x00\xbf")},
		{SQL: "GEOMETRYCOLLECTION", Values: []string{"ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2))')"}, Type: kind(schemas.Bytes)},
	}
}
