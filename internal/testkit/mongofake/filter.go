package mongofake

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// filter says whether a document matches a query.
type filter func(doc bson.Raw) bool

// compile reads a query. What it does not know, it refuses.
func compile(query bson.Raw) (filter, error) {
	var all []filter
	for key, v := range each(query) {
		part, err := compilePart(key, v)
		if err != nil {
			return nil, err
		}
		all = append(all, part)
	}
	return func(doc bson.Raw) bool {
		for _, f := range all {
			if !f(doc) {
				return false
			}
		}
		return true
	}, nil
}

func compilePart(key string, v bson.RawValue) (filter, error) {
	switch key {
	case "$and", "$or", "$nor":
		var parts []filter
		for _, e := range elements(v) {
			f, err := compile(docOf(e))
			if err != nil {
				return nil, err
			}
			parts = append(parts, f)
		}
		return func(doc bson.Raw) bool {
			for _, f := range parts {
				if f(doc) != (key == "$and") {
					return key == "$or"
				}
			}
			return key != "$or"
		}, nil
	case "$comment":
		return func(bson.Raw) bool { return true }, nil
	}
	if strings.HasPrefix(key, "$") {
		return nil, badValue("unknown top level operator: " + key)
	}
	path := strings.Split(key, ".")
	test, err := compileTest(v)
	if err != nil {
		return nil, err
	}
	return func(doc bson.Raw) bool { return test(doc, path) }, nil
}

// test says whether what lies at the path passes.
type test func(doc bson.Raw, path []string) bool

func compileTest(v bson.RawValue) (test, error) {
	if !isOperators(docOf(v)) {
		one, err := equalsOrMatches(v)
		return reaches(one), err
	}
	var all []test
	options := text(field(docOf(v), "$options"))
	for op, operand := range each(docOf(v)) {
		t, err := compileOperator(op, operand, options)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return func(doc bson.Raw, path []string) bool {
		for _, t := range all {
			if !t(doc, path) {
				return false
			}
		}
		return true
	}, nil
}

func compileOperator(op string, operand bson.RawValue, options string) (test, error) {
	switch op {
	case "$eq":
		return reaches(func(v bson.RawValue) bool { return equal(v, operand) }), nil
	case "$ne":
		return not(reaches(func(v bson.RawValue) bool { return equal(v, operand) })), nil
	case "$gt":
		return reaches(within(operand, func(c int) bool { return c > 0 })), nil
	case "$gte":
		return reaches(within(operand, func(c int) bool { return c >= 0 })), nil
	case "$lt":
		return reaches(within(operand, func(c int) bool { return c < 0 })), nil
	case "$lte":
		return reaches(within(operand, func(c int) bool { return c <= 0 })), nil
	case "$in", "$nin":
		var values []func(bson.RawValue) bool
		for _, e := range elements(operand) {
			one, err := equalsOrMatches(e)
			if err != nil {
				return nil, err
			}
			values = append(values, one)
		}
		in := reaches(func(v bson.RawValue) bool {
			return slices.ContainsFunc(values, func(one func(bson.RawValue) bool) bool { return one(v) })
		})
		if op == "$nin" {
			return not(in), nil
		}
		return in, nil
	case "$exists":
		want := truth(operand)
		return func(doc bson.Raw, path []string) bool {
			found := false
			reach(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}, path, func(v bson.RawValue) bool {
				found = found || v.Type != 0
				return found
			})
			return found == want
		}, nil
	case "$not":
		t, err := compileTest(operand)
		return not(t), err
	case "$regex":
		return compileRegex(operand, options)
	case "$options":
		return func(bson.Raw, []string) bool { return true }, nil
	}
	return nil, badValue("unknown operator: " + op)
}

func compileRegex(operand bson.RawValue, options string) (test, error) {
	pattern := text(operand)
	if p, o, ok := operand.RegexOK(); ok {
		pattern = p
		if options == "" {
			options = o
		}
	}
	one, err := matches(pattern, options)
	return reaches(one), err
}

// matches compiles a regular expression. Go's are close to PCRE's; what they do
// not have is refused.
func matches(pattern, options string) (func(bson.RawValue) bool, error) {
	if flags := strings.ReplaceAll(options, "u", ""); flags != "" {
		if strings.Trim(flags, "ims") != "" {
			return nil, badValue("the stand-in does not know the regex options " + options)
		}
		pattern = "(?" + flags + ")" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, badValue("Regular expression is invalid: " + err.Error())
	}
	return func(v bson.RawValue) bool {
		s, ok := v.StringValueOK()
		return ok && re.MatchString(s)
	}, nil
}

func equalsOrMatches(want bson.RawValue) (func(bson.RawValue) bool, error) {
	if pattern, options, ok := want.RegexOK(); ok {
		return matches(pattern, options)
	}
	return func(v bson.RawValue) bool { return equal(v, want) }, nil
}

// isOperators says whether a document is {$gt: …} and not a value.
func isOperators(doc bson.Raw) bool {
	for key := range each(doc) {
		return strings.HasPrefix(key, "$") && key != "$ref" && key != "$id" && key != "$db"
	}
	return false
}

// within compares values of the operand's bracket only; the least and the
// greatest value compare with all.
func within(operand bson.RawValue, want func(int) bool) func(bson.RawValue) bool {
	own := bracket(operand.Type)
	every := operand.Type == bson.TypeMinKey || operand.Type == bson.TypeMaxKey
	return func(v bson.RawValue) bool {
		if v.Type == 0 && own != 1 {
			return false
		}
		return (every || bracket(v.Type) == own) && !isNaN(v, operand) && want(compare(v, operand))
	}
}

// isNaN says whether one of them is NaN and the other is not: only NaN compares with NaN.
func isNaN(a, b bson.RawValue) bool {
	if bracket(a.Type) != 2 || bracket(b.Type) != 2 {
		return false
	}
	if _, ok := whole(a); ok {
		if _, ok := whole(b); ok {
			return false
		}
	}
	_, x := exact(a)
	_, y := exact(b)
	return (x == -2) != (y == -2)
}

func not(t test) test {
	return func(doc bson.Raw, path []string) bool { return !t(doc, path) }
}

// reaches says whether one of the values at a path passes.
func reaches(one func(bson.RawValue) bool) test {
	return func(doc bson.Raw, path []string) bool {
		return reach(bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}, path, one)
	}
}

// reach hands over every value that lies at the path until one passes: an array
// on the way is entered by number and by each of its documents; at the end, it
// counts as a whole and as each of its elements. Where nothing lies, the value's
// type is 0.
func reach(v bson.RawValue, path []string, one func(bson.RawValue) bool) bool {
	if len(path) == 0 {
		if one(v) {
			return true
		}
		return slices.ContainsFunc(elements(v), one)
	}
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		next := field(v.Value, path[0])
		if next.Type == 0 {
			return one(next)
		}
		return reach(next, path[1:], one)
	case bson.TypeArray:
		if _, err := strconv.Atoi(path[0]); err == nil {
			if next := field(v.Value, path[0]); next.Type != 0 && reach(next, path[1:], one) {
				return true
			}
		}
		for _, e := range elements(v) {
			if isDoc(e) && reach(e, path, one) {
				return true
			}
		}
		return false
	}
	return one(bson.RawValue{})
}

// lookup is the one value at a path, for sorting and projecting: type 0 if none.
func lookup(doc bson.Raw, path []string) bson.RawValue {
	v := bson.RawValue{Type: bson.TypeEmbeddedDocument, Value: doc}
	for _, p := range path {
		if v.Type != bson.TypeEmbeddedDocument && v.Type != bson.TypeArray {
			return bson.RawValue{}
		}
		v = field(v.Value, p)
	}
	return v
}
