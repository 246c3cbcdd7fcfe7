package postgres

import (
	"context"
	"fmt"
	"sync"

	"millrace/schemas"
)

// codec says how the text of a value becomes a cell.
type codec uint8

const (
	codecText codec = iota // as the server prints it
	codecBool
	codecInt
	codecFloat4
	codecFloat8
	codecDecimal
	codecBytea
	codecDate
	codecTime
	codecTimestamp
	codecTimestamptz
	codecJSON
	codecArray // to JSON
)

// valueType is the type of a column's values on their way: what they become,
// and how.
type valueType struct {
	schemas.Type
	codec codec
	elem  codec // of codecArray
}

var textType = valueType{Type: schemas.Type{Kind: schemas.String}, codec: codecText}

// The OIDs of the types that are more than their text. They are fixed for ever.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidOID         = 26
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidNumeric     = 1700
	oidJSONB       = 3802
	firstUserOID   = 16384
)

// maxNumericPrecision is what NUMERIC(p,s) can declare.
const maxNumericPrecision = 1000

// builtin is the type of values of a type that PostgreSQL itself defines and
// that is no array.
func builtin(oid uint32, typmod int32) valueType {
	of := func(k schemas.Kind, c codec) valueType { return valueType{Type: schemas.Type{Kind: k}, codec: c} }
	switch oid {
	case oidBool:
		return of(schemas.Bool, codecBool)
	case oidInt2, oidInt4, oidInt8, oidOID:
		return of(schemas.Int, codecInt)
	case oidFloat4:
		return of(schemas.Float, codecFloat4)
	case oidFloat8:
		return of(schemas.Float, codecFloat8)
	case oidBytea:
		return of(schemas.Bytes, codecBytea)
	case oidDate:
		return of(schemas.Date, codecDate)
	case oidTime:
		return of(schemas.Time, codecTime)
	case oidTimestamp:
		return of(schemas.DateTime, codecTimestamp)
	case oidTimestamptz:
		return of(schemas.Timestamp, codecTimestamptz)
	case oidJSON, oidJSONB:
		return of(schemas.JSON, codecJSON)
	case oidNumeric:
		return numeric(typmod)
	}
	return textType
}

// numeric is a Decimal where the type declares its digits. Without them a
// value may have 131,072 digits before the point: it stays text.
func numeric(typmod int32) valueType {
	if typmod < 4 {
		return textType
	}
	precision := int(typmod-4) >> 16 & 0xffff
	scale := int(typmod-4) & 0x7ff
	if scale >= 1024 { // negative, from PostgreSQL 15: zeros before the point
		scale -= 2048
	}
	if scale < 0 {
		precision, scale = precision-scale, 0
	}
	precision = max(precision, scale) // NUMERIC(3,5): at most 0.00999
	if precision < 1 || precision > maxNumericPrecision*2 {
		return textType
	}
	return valueType{Type: schemas.Type{Kind: schemas.Decimal, Precision: precision, Scale: scale}, codec: codecDecimal}
}

// typeInfo is what pg_type says about a type.
type typeInfo struct {
	base   uint32 // of a domain
	typmod int32  // of a domain
	elem   uint32 // of an array
}

// types resolves types by oid, and remembers: what a domain or an array is
// built on cannot change while it exists.
type types struct {
	mu   sync.Mutex
	info map[uint32]typeInfo
}

// resolve is the type of values of a column. A type that is gone from the
// catalog is text.
func (t *types) resolve(ctx context.Context, q querier, oid uint32, typmod int32) (valueType, error) {
	for range 32 { // domains over domains
		if vt := builtin(oid, typmod); vt.codec != codecText {
			return vt, nil
		}
		info, err := t.lookup(ctx, q, oid)
		switch {
		case err != nil:
			return textType, err
		case info.base != 0:
			oid, typmod = info.base, info.typmod
		case info.elem != 0:
			elem, err := t.resolve(ctx, q, info.elem, -1)
			if err != nil {
				return textType, err
			}
			if info.elem == oidNumeric {
				elem.codec = codecDecimal // a number in JSON, whatever its digits
			}
			return valueType{Type: schemas.Type{Kind: schemas.JSON}, codec: codecArray, elem: elem.codec}, nil
		default:
			return textType, nil
		}
	}
	return textType, nil
}

// base is the type under a domain, as which the server describes results.
func (t *types) base(ctx context.Context, q querier, oid uint32, typmod int32) (uint32, int32, error) {
	for range 32 {
		if oid < firstUserOID {
			break
		}
		info, err := t.lookup(ctx, q, oid)
		if err != nil || info.base == 0 {
			return oid, typmod, err
		}
		oid, typmod = info.base, info.typmod
	}
	return oid, typmod, nil
}

func (t *types) lookup(ctx context.Context, q querier, oid uint32) (typeInfo, error) {
	t.mu.Lock()
	info, ok := t.info[oid]
	t.mu.Unlock()
	if ok {
		return info, nil
	}
	rows, err := q.Query(ctx, `SELECT CASE typtype WHEN 'd' THEN typbasetype ELSE 0 END, typtypmod,
		CASE WHEN typcategory = 'A' AND typlen = -1 AND typtype = 'b' AND typdelim = ',' THEN typelem ELSE 0 END
		FROM pg_catalog.pg_type WHERE oid = $1`, oid)
	if err != nil {
		return info, fmt.Errorf("read type %d: %w", oid, err)
	}
	for rows.Next() {
		if err := rows.Scan(&info.base, &info.typmod, &info.elem); err != nil {
			rows.Close()
			return info, fmt.Errorf("read type %d: %w", oid, err)
		}
		ok = true
	}
	if err := rows.Err(); err != nil {
		return info, fmt.Errorf("read type %d: %w", oid, err)
	}
	if ok || oid < firstUserOID {
		t.mu.Lock()
		t.info[oid] = info
		t.mu.Unlock()
	}
	return info, nil
}
