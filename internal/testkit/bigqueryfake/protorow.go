package bigqueryfake

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/descriptorpb"
)

// value is a value of a row on its way into DuckDB: nil, bool, int64, float64,
// string or []byte.
type value any

// shape says how the rows of a connection stand in their messages.
type shape struct {
	table  *table
	fields map[protowire.Number]field
	width  int // of a row: the table's columns, and the two of a change
	// required are the columns that a row must have, with whether a message may
	// leave them out.
	required []int
	change   int // the ordinal of _CHANGE_TYPE, or -1
	sequence int // the ordinal of _CHANGE_SEQUENCE_NUMBER, or -1
	columns  []column
}

// cdc reports whether rows are changes by key.
func (s *shape) cdc() bool { return s.change >= 0 }

// field is a field of the message and the column that it is for.
type field struct {
	name string
	at   int // the ordinal in the row
	typ  columnType
	kind descriptorpb.FieldDescriptorProto_Type
}

// kinds are the kinds of fields that a column of the type takes.
var kinds = map[string][]descriptorpb.FieldDescriptorProto_Type{
	"BOOL":       {descriptorpb.FieldDescriptorProto_TYPE_BOOL, descriptorpb.FieldDescriptorProto_TYPE_INT32, descriptorpb.FieldDescriptorProto_TYPE_INT64},
	"INT64":      {descriptorpb.FieldDescriptorProto_TYPE_INT64, descriptorpb.FieldDescriptorProto_TYPE_INT32, descriptorpb.FieldDescriptorProto_TYPE_UINT32, descriptorpb.FieldDescriptorProto_TYPE_SINT64, descriptorpb.FieldDescriptorProto_TYPE_SFIXED64},
	"FLOAT64":    {descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, descriptorpb.FieldDescriptorProto_TYPE_FLOAT},
	"STRING":     {descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"JSON":       {descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"BYTES":      {descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"DATE":       {descriptorpb.FieldDescriptorProto_TYPE_INT32, descriptorpb.FieldDescriptorProto_TYPE_INT64, descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"TIMESTAMP":  {descriptorpb.FieldDescriptorProto_TYPE_INT64, descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"TIME":       {descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"DATETIME":   {descriptorpb.FieldDescriptorProto_TYPE_STRING},
	"NUMERIC":    {descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_INT64},
	"BIGNUMERIC": {descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_INT64},
}

const (
	changeType     = "_CHANGE_TYPE"
	changeSequence = "_CHANGE_SEQUENCE_NUMBER"
)

// shapeOf compares a message with the table as the write path sees it.
func (c *connection) shapeOf(message *descriptorpb.DescriptorProto) (*shape, *status.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.stream.table
	s := &shape{table: t, fields: map[protowire.Number]field{}, width: len(t.columns) + 2, change: -1, sequence: -1, columns: append([]column(nil), t.columns...)}
	mentioned := map[int]bool{}
	var extra []string
	for _, f := range message.GetField() {
		out := field{name: f.GetName(), kind: f.GetType()}
		switch strings.ToUpper(f.GetName()) {
		case changeType:
			out.at, out.typ = len(t.columns), columnType{name: "STRING"}
			s.change = out.at
		case changeSequence:
			out.at, out.typ = len(t.columns)+1, columnType{name: "STRING"}
			s.sequence = out.at
		default:
			out.at = t.index(fieldName(f))
			if out.at < 0 || t.visible[out.at].After(c.now()) {
				extra = append(extra, f.GetName())
				continue
			}
			out.typ = t.columns[out.at].typ
		}
		if fault := c.fits(out, f); fault != nil {
			return nil, fault
		}
		mentioned[out.at] = true
		s.fields[protowire.Number(f.GetNumber())] = out
	}
	if len(extra) > 0 {
		return nil, storageError(codes.InvalidArgument, storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS, c.stream.name,
			"Input schema has more fields than BigQuery schema, extra fields: '%s'", strings.Join(extra, ","))
	}
	for i, col := range t.columns {
		if !col.required {
			continue
		}
		if !mentioned[i] {
			return nil, status.Newf(codes.InvalidArgument, "The required field %s is missing in the proto message", col.name)
		}
		s.required = append(s.required, i)
	}
	if s.cdc() && (len(t.key) == 0 || !c.stream.isDefault()) {
		return nil, status.New(codes.InvalidArgument, "changes are taken by the default stream of a table with a primary key only")
	}
	return s, nil
}

// fieldName is the column's name: one that is no identifier is an annotation of
// the field, which descriptors hold as an option.
func fieldName(f *descriptorpb.FieldDescriptorProto) string {
	if extended := columnAnnotation(f.GetOptions()); extended != "" {
		return extended
	}
	return f.GetName()
}

func (c *connection) fits(out field, f *descriptorpb.FieldDescriptorProto) *status.Status {
	if f.GetLabel() == descriptorpb.FieldDescriptorProto_LABEL_REPEATED {
		return status.Newf(codes.InvalidArgument, "Proto field %s is repeated, and the column is not", out.name)
	}
	for _, kind := range kinds[out.typ.name] {
		if kind == out.kind {
			return nil
		}
	}
	return status.Newf(codes.InvalidArgument, "The proto field mismatched with BigQuery field at %s, the proto field type %s, BigQuery field type %s",
		out.name, strings.ToLower(strings.TrimPrefix(out.kind.String(), "TYPE_")), out.typ.name)
}

// row reads a message. What the descriptor does not name is passed over.
func (s *shape) row(text []byte) ([]value, error) {
	row := make([]value, s.width)
	for len(text) > 0 {
		number, wire, n := protowire.ConsumeTag(text)
		if n < 0 {
			return nil, fmt.Errorf("the message cannot be parsed: %w", protowire.ParseError(n))
		}
		text = text[n:]
		f, known := s.fields[number]
		if !known {
			if n = protowire.ConsumeFieldValue(number, wire, text); n < 0 {
				return nil, fmt.Errorf("the message cannot be parsed: %w", protowire.ParseError(n))
			}
			text = text[n:]
			continue
		}
		v, n, err := f.read(wire, text)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.name, err)
		}
		if row[f.at], err = convert(f.typ, v); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.name, err)
		}
		text = text[n:]
	}
	for _, i := range s.required {
		if row[i] == nil {
			return nil, fmt.Errorf("field %s: a value is required", s.columns[i].name)
		}
	}
	return row, nil
}

// read takes the value off the message.
func (f field) read(wire protowire.Type, text []byte) (v value, n int, err error) {
	want := protowire.VarintType
	switch f.kind {
	case descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, descriptorpb.FieldDescriptorProto_TYPE_SFIXED64:
		want = protowire.Fixed64Type
	case descriptorpb.FieldDescriptorProto_TYPE_FLOAT:
		want = protowire.Fixed32Type
	case descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_BYTES:
		want = protowire.BytesType
	}
	if wire != want {
		return nil, 0, fmt.Errorf("wire type %d, but %d is declared", wire, want)
	}
	switch want {
	case protowire.BytesType:
		b, n := protowire.ConsumeBytes(text)
		if n < 0 {
			return nil, 0, protowire.ParseError(n)
		}
		if f.kind == descriptorpb.FieldDescriptorProto_TYPE_BYTES {
			return append([]byte{}, b...), n, nil
		}
		if !utf8.Valid(b) {
			return nil, 0, fmt.Errorf("the text is not UTF-8")
		}
		return string(b), n, nil
	case protowire.Fixed64Type:
		u, n := protowire.ConsumeFixed64(text)
		if n < 0 {
			return nil, 0, protowire.ParseError(n)
		}
		if f.kind == descriptorpb.FieldDescriptorProto_TYPE_SFIXED64 {
			return int64(u), n, nil
		}
		return math.Float64frombits(u), n, nil
	case protowire.Fixed32Type:
		u, n := protowire.ConsumeFixed32(text)
		if n < 0 {
			return nil, 0, protowire.ParseError(n)
		}
		return float64(math.Float32frombits(u)), n, nil
	}
	u, n := protowire.ConsumeVarint(text)
	if n < 0 {
		return nil, 0, protowire.ParseError(n)
	}
	switch f.kind {
	case descriptorpb.FieldDescriptorProto_TYPE_SINT64:
		return protowire.DecodeZigZag(u), n, nil
	case descriptorpb.FieldDescriptorProto_TYPE_INT32:
		return int64(int32(u)), n, nil
	case descriptorpb.FieldDescriptorProto_TYPE_BOOL:
		return u != 0, n, nil
	}
	return int64(u), n, nil
}

// Bounds of DATE and TIMESTAMP: years 1 to 9999.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
)

// convert checks that the value is one of the type, and gives it as it is stored.
func convert(t columnType, v value) (value, error) {
	switch t.name {
	case "BOOL":
		if n, ok := v.(int64); ok {
			return n != 0, nil
		}
	case "BYTES":
		if s, ok := v.(string); ok {
			return []byte(s), nil
		}
	case "JSON":
		return canonicalJSON(v.(string))
	case "DATE":
		return convertDate(v)
	case "TIMESTAMP":
		return convertTimestamp(v)
	case "TIME":
		return v, parses(v, "15:04:05.999999")
	case "DATETIME":
		s := strings.Replace(v.(string), "T", " ", 1)
		return s, parses(s, "2006-01-02 15:04:05.999999")
	case "NUMERIC", "BIGNUMERIC":
		return convertDecimal(t, fmt.Sprint(v))
	}
	return v, nil
}

func parses(v value, layout string) error {
	if _, err := time.Parse(layout, v.(string)); err != nil {
		return fmt.Errorf("invalid value %q", v)
	}
	return nil
}

func convertDate(v value) (value, error) {
	if s, ok := v.(string); ok {
		at, err := time.Parse(time.DateOnly, s)
		if err != nil {
			return nil, fmt.Errorf("invalid date %q", s)
		}
		v = at.Unix() / 86400
		if at.Unix()%86400 != 0 {
			return nil, fmt.Errorf("invalid date %q", s)
		}
	}
	if days := v.(int64); days < minTime.Unix()/86400 || days > maxTime.Unix()/86400 {
		return nil, fmt.Errorf("date %d days from 1970 is out of range", days)
	}
	return v, nil
}

func convertTimestamp(v value) (value, error) {
	if s, ok := v.(string); ok {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return nil, fmt.Errorf("invalid timestamp %q", s)
		}
		v = at.UnixMicro()
	}
	if us := v.(int64); us < minTime.UnixMicro() || us > maxTime.UnixMicro() {
		return nil, fmt.Errorf("timestamp %d is out of range", us)
	}
	return v, nil
}

// convertDecimal checks a number's digits, and gives its shortest spelling.
func convertDecimal(t columnType, text string) (value, error) {
	number := strings.TrimLeft(text, "+-")
	whole, fraction, _ := strings.Cut(number, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return nil, fmt.Errorf("invalid %s value %q", t.name, text)
	}
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	precision, scale, _ := t.bounds()
	if t.precision == 0 && t.name == "NUMERIC" {
		precision = 38
	}
	if int64(len(fraction)) > scale || int64(len(whole)) > precision-scale {
		return nil, fmt.Errorf("%s value %s has more digits than %s holds", t.name, text, t)
	}
	if whole == "" {
		whole = "0"
	}
	out := whole
	if fraction != "" {
		out += "." + fraction
	}
	if strings.HasPrefix(text, "-") && strings.Trim(out, "0.") != "" {
		out = "-" + out
	}
	return out, nil
}
