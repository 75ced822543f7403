package nodefiles

// ParseTimestamp reads the RFC 3339 time that `timestamps=true` puts before a
// line, and the one space behind it. It returns nanoseconds since the epoch
// and the number of bytes used; ok is false when the line does not begin with
// one, which makes it a continuation or an error text, never a new line.
//
// time.Parse would do, but it costs an allocation and ten times the time per
// line. The kubelet writes nine fractional digits; the CRI file has fewer when
// they end in zeros, and old kubelets pass that on, so any number is accepted.
// The zone of the node is kept by the kubelet: "+02:00" is as usual as "Z".
func ParseTimestamp(b []byte) (ns int64, n int, ok bool) {
	const minLen = len("2006-01-02T15:04:05Z ")
	if len(b) < minLen || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return 0, 0, false
	}
	year, ok1 := digits(b[0:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	hour, ok4 := digits(b[11:13])
	minute, ok5 := digits(b[14:16])
	sec, ok6 := digits(b[17:19])
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) {
		return 0, 0, false
	}
	// 1678 to 2261 fits into an int64 of nanoseconds.
	if year < 1678 || year > 2261 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || sec > 59 {
		return 0, 0, false
	}
	i := 19
	var frac int64
	if b[i] == '.' {
		i++
		start, scale := i, int64(100_000_000)
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			frac += int64(b[i]-'0') * scale
			scale /= 10
		}
		if i == start || i-start > 9 {
			return 0, 0, false
		}
	}
	offset, i, ok := zone(b, i)
	if !ok || i >= len(b) || b[i] != ' ' {
		return 0, 0, false
	}
	s := daysSinceEpoch(year, month, day)*86400 + int64(hour*3600+minute*60+sec) - offset
	return s*1_000_000_000 + frac, i + 1, true
}

// zone reads "Z" or "+hh:mm" at b[i:] and returns seconds east of UTC and the
// index behind it.
func zone(b []byte, i int) (offset int64, next int, ok bool) {
	if i >= len(b) {
		return 0, 0, false
	}
	if b[i] == 'Z' {
		return 0, i + 1, true
	}
	if (b[i] != '+' && b[i] != '-') || len(b) < i+6 || b[i+3] != ':' {
		return 0, 0, false
	}
	hh, ok1 := digits(b[i+1 : i+3])
	mm, ok2 := digits(b[i+4 : i+6])
	if !ok1 || !ok2 || hh > 23 || mm > 59 {
		return 0, 0, false
	}
	offset = int64(hh*3600 + mm*60)
	if b[i] == '-' {
		offset = -offset
	}
	return offset, i + 6, true
}

func digits(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
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

// daysSinceEpoch counts days of the Gregorian calendar from 1970-01-01, with
// the year beginning in March so that the leap day comes last.
func daysSinceEpoch(year, month, day int) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	yoe := year - era*400
	doy := (153*(month-3)+2)/5 + day - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return int64(era*146097 + doe - 719468)
}
