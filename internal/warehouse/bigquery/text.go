package bigquery

import "strconv"

// appendInt appends a number in decimal.
func appendInt(dst []byte, v int64) []byte { return strconv.AppendInt(dst, v, 10) }

// appendDateTime appends microseconds since 1970, without a zone, as
// YYYY-MM-DD HH:MM:SS.ffffff.
func appendDateTime(dst []byte, us int64) []byte {
	day := us / dayUs
	if us %= dayUs; us < 0 {
		day, us = day-1, us+dayUs
	}
	dst = append(appendDate(dst, day), ' ')
	return appendClock(dst, us)
}

// appendDate appends the day since 1970 as YYYY-MM-DD. It counts in spans of
// 400 years that begin in March, as the Gregorian calendar repeats itself.
func appendDate(dst []byte, day int64) []byte {
	day += 719468 // since 0000-03-01
	era := day / 146097
	of := day - era*146097
	year := (of - of/1460 + of/36524 - of/146096) / 365
	of -= 365*year + year/4 - year/100
	month := (5*of + 2) / 153
	of -= (153*month + 2) / 5
	year += era * 400
	if month += 3; month > 12 {
		month, year = month-12, year+1
	}
	dst = appendDigits(dst, year, 4)
	dst = appendDigits(append(dst, '-'), month, 2)
	return appendDigits(append(dst, '-'), of+1, 2)
}

// appendClock appends microseconds since midnight as HH:MM:SS.ffffff.
func appendClock(dst []byte, us int64) []byte {
	sec := us / 1_000_000
	dst = appendDigits(dst, sec/3600, 2)
	dst = appendDigits(append(dst, ':'), sec/60%60, 2)
	dst = appendDigits(append(dst, ':'), sec%60, 2)
	return appendDigits(append(dst, '.'), us%1_000_000, 6)
}

func appendDigits(dst []byte, v int64, width int) []byte {
	at := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := at + width - 1; v > 0 && i >= at; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}
