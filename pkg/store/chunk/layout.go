package chunk

import "math"

// maxLayout bounds the text of a time layout.
const maxLayout = 64

// layoutOp is a step of a layout: literal text or a part of the time.
type layoutOp struct {
	code byte // 0 literal, 'Y' 'm' 'd' 'b' 'H' 'M' 'S' 's', or 'f' fraction
	lit  string
	// at is where the part begins in a text that parse takes, n its length.
	at, n int
}

// layout writes and reads times in one textual form, see the package comment.
type layout struct {
	text string
	ops  []layoutOp
	// unit is the unit of values in nanoseconds, perSec units are a second.
	unit, perSec int64
	fracDigits   int
	// width is the length of the texts that parse takes.
	width int
	// date: the value counts from 1970; otherwise within the day.
	date bool
	// epoch: seconds since 1970 in decimal.
	epoch bool

	// dateOps are the ops up to the last part of a date, dateLen their length in
	// a text; lastDate and lastDay are what parse met last.
	dateOps, dateLen int
	lastDate         string
	lastDay          int64

	// day is the day whose date is cached in year, month, mday.
	day               int64
	year, month, mday int
	dayValid          bool
}

// parseLayout compiles a layout; ok is false when it is not one that can be
// both written and read.
func parseLayout(text string) (l layout, ok bool) {
	if len(text) > maxLayout {
		return l, false
	}
	l = layout{text: text, unit: 1e9, perSec: 1}
	var seen [256]int
	lit := 0
	flush := func(to int) {
		if to > lit {
			l.ops = append(l.ops, layoutOp{lit: text[lit:to]})
		}
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			continue
		}
		flush(i)
		if i++; i == len(text) {
			return l, false
		}
		c := text[i]
		lit = i + 1
		switch {
		case c == '%':
			lit = i
			continue
		case c >= '1' && c <= '9':
			l.fracDigits = int(c - '0')
			l.perSec = pow10[l.fracDigits]
			l.unit = 1e9 / l.perSec
			c = 'f'
		case c == 'Y', c == 'm', c == 'd', c == 'b', c == 'H', c == 'M', c == 'S', c == 's':
		default:
			return l, false
		}
		seen[c]++
		l.ops = append(l.ops, layoutOp{code: c})
	}
	flush(len(text))
	for _, c := range "YmdbHMSsf" {
		if seen[c] > 1 {
			return l, false
		}
	}
	l.epoch = seen['s'] > 0
	l.place()
	clock := seen['H'] + seen['M'] + seen['S']
	l.date = l.epoch || seen['Y']+seen['m']+seen['b']+seen['d'] > 0
	if l.epoch {
		return l, clock == 0 && seen['Y']+seen['m']+seen['b']+seen['d'] == 0
	}
	// Everything that a value tells has to be in the text.
	return l, clock == 3 && (!l.date || seen['Y']+seen['d'] == 2 && seen['m']+seen['b'] == 1)
}

// place computes where the parts stand in a text that parse takes.
func (l *layout) place() {
	for i := range l.ops {
		op := &l.ops[i]
		switch op.at = l.width; op.code {
		case 0:
			op.n = len(op.lit)
		case 'Y':
			op.n = 4
		case 'b':
			op.n = 3
		case 's':
			op.n = 10
		case 'f':
			op.n = l.fracDigits
		default:
			op.n = 2
		}
		l.width += op.n
		switch op.code {
		case 'Y', 'm', 'd', 'b':
			l.dateOps, l.dateLen = i+1, l.width
		}
	}
	for _, op := range l.ops[:l.dateOps] {
		switch op.code {
		case 'H', 'M', 'S', 'f':
			l.dateOps, l.dateLen = 0, 0 // the clock comes first: nothing to remember
		}
	}
}

var pow10 = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}

const (
	monthNames = "JanFebMarAprMayJunJulAugSepOctNovDec"
	daySeconds = 86400
	minDay     = -719528 // 0000-01-01
	maxDay     = 2932896 // 9999-12-31
)

// floorDiv rounds towards minus infinity; b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// append writes the value (in units of the layout). ok is false when the value
// has no text in this layout.
func (l *layout) append(dst []byte, v int64) (_ []byte, ok bool) {
	sec := floorDiv(v, l.perSec)
	frac := v - sec*l.perSec
	day := floorDiv(sec, daySeconds)
	clock := int(sec - day*daySeconds)
	if l.epoch {
		if sec < 0 {
			return dst, false
		}
	} else if l.date && (!l.dayValid || day != l.day) {
		if day < minDay || day > maxDay {
			return dst, false
		}
		l.day, l.dayValid = day, true
		l.year, l.month, l.mday = civil(day)
	}
	for i := range l.ops {
		op := &l.ops[i]
		switch op.code {
		case 0:
			dst = append(dst, op.lit...)
		case 'Y':
			dst = append2(append2(dst, l.year/100), l.year%100)
		case 'm':
			dst = append2(dst, l.month)
		case 'd':
			dst = append2(dst, l.mday)
		case 'b':
			dst = append(dst, monthNames[3*(l.month-1):3*l.month]...)
		case 'H':
			dst = append2(dst, clock/3600)
		case 'M':
			dst = append2(dst, clock/60%60)
		case 'S':
			dst = append2(dst, clock%60)
		case 's':
			dst = appendUint(dst, uint64(sec))
		case 'f':
			dst = appendPadded(dst, uint64(frac), l.fracDigits)
		}
	}
	return dst, true
}

// parse reads s, strictly: append gives back exactly s.
func (l *layout) parse(s string) (v int64, ok bool) {
	if len(s) != l.width {
		return 0, false
	}
	var year, month, mday, hour, minute, sec, frac int
	epoch := int64(0)
	known := l.dateLen > 0 && s[:l.dateLen] == l.lastDate
	ops := l.ops
	if known {
		ops = ops[l.dateOps:]
	}
	for i := range ops {
		op := &ops[i]
		p := s[op.at : op.at+op.n]
		if op.code == 0 {
			if p != op.lit {
				return 0, false
			}
			continue
		}
		if op.code == 'b' {
			month = monthNumber(p)
			continue
		}
		n := int64(0) // ten digits do not fit an int everywhere
		for j := 0; j < len(p); j++ {
			d := p[j] - '0'
			if d > 9 {
				return 0, false
			}
			n = n*10 + int64(d)
		}
		x := int(n)
		switch op.code {
		case 'Y':
			year = x
		case 'm':
			month = x
		case 'd':
			mday = x
		case 'H':
			hour = x
		case 'M':
			minute = x
		case 'S':
			sec = x
		case 's':
			// 10 digits: from 2001 to 2286, no leading zero to lose.
			if epoch = n; epoch < 1e9 {
				return 0, false
			}
		case 'f':
			frac = x
		}
	}
	if hour > 23 || minute > 59 || sec > 59 {
		return 0, false
	}
	if l.epoch {
		return l.join(epoch, frac)
	}
	day := int64(0)
	if known {
		day = l.lastDay
	} else if l.date {
		if month < 1 || month > 12 || mday < 1 || mday > daysIn(year, month) {
			return 0, false
		}
		day = days(year, month, mday)
		l.lastDate, l.lastDay = s[:l.dateLen], day
	}
	return l.join(day*daySeconds+int64(hour*3600+minute*60+sec), frac)
}

// join makes a value; far times do not fit when the fraction is fine.
func (l *layout) join(sec int64, frac int) (v int64, ok bool) {
	if limit := math.MaxInt64/l.perSec - 1; sec > limit || sec < -limit {
		return 0, false
	}
	return sec*l.perSec + int64(frac), true
}

// delta is what to store for value v of an entry of time ts.
func (l *layout) delta(v, ts int64) int64 {
	d := v - floorDiv(ts, l.unit)
	if !l.date {
		// Of all times of that clock, the nearest to the entry.
		whole := daySeconds * l.perSec
		d -= floorDiv(d, whole) * whole
		if d > whole/2 {
			d -= whole
		}
	}
	return d
}

// value is the inverse of delta. The sum wraps like the encoder's difference.
func (l *layout) value(delta, ts int64) int64 {
	v := floorDiv(ts, l.unit) + delta
	if !l.date {
		whole := daySeconds * l.perSec
		v -= floorDiv(v, whole) * whole
		if v < 0 || v >= whole {
			v = math.MaxInt64 % whole // only after a wrap, which no encoder writes
		}
	}
	return v
}

func monthNumber(s string) int {
	for m := range 12 {
		if monthNames[3*m:3*m+3] == s {
			return m + 1
		}
	}
	return 0
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// days counts from 1970-01-01 in the proleptic Gregorian calendar (era-based
// computation as in Howard Hinnant's "chrono-Compatible Low-Level Date
// Algorithms").
func days(y, m, d int) int64 {
	if m <= 2 {
		y--
	}
	era := floorDiv(int64(y), 400)
	yoe := int64(y) - era*400
	mp := int64(m+9) % 12
	doy := (153*mp+2)/5 + int64(d) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// civil is the inverse of days.
func civil(z int64) (y, m, d int) {
	z += 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = int(doy - (153*mp+2)/5 + 1)
	m = int(mp + 3)
	if m > 12 {
		m -= 12
	}
	y = int(yoe + era*400)
	if m <= 2 {
		y++
	}
	return y, m, d
}
