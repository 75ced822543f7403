package lokiapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	commonmodel "github.com/prometheus/common/model"
	"sigs.k8s.io/yaml"
)

// limitsFile is the YAML of [ParseLimits]. What is not there stays as it is.
type limitsFile struct {
	MaxLine        *fileSize     `json:"max_line_size"`
	TruncateLines  *bool         `json:"max_line_size_truncate"`
	TruncateMarker *string       `json:"max_line_size_truncate_identifier"`
	MaxLabelNames  *int          `json:"max_label_names_per_series"`
	MaxLabelName   *int          `json:"max_label_name_length"`
	MaxLabelValue  *int          `json:"max_label_value_length"`
	MetadataBytes  *fileSize     `json:"max_structured_metadata_size"`
	MetadataPairs  *int          `json:"max_structured_metadata_entries_count"`
	RejectOld      *bool         `json:"reject_old_samples"`
	MaxAge         *fileDuration `json:"reject_old_samples_max_age"`
	MaxFuture      *fileDuration `json:"creation_grace_period"`
	ServiceName    *[]string     `json:"discover_service_name"`
	Levels         *bool         `json:"discover_log_levels"`
	LevelFields    *[]string     `json:"log_level_fields"`
	OTLP           *OTLPConfig   `json:"otlp_config"`
}

// LimitNames are the keys that ParseLimits knows, in the order of the file.
func LimitNames() (names []string) {
	for f := range reflect.TypeFor[limitsFile]().Fields() {
		names = append(names, f.Tag.Get("json"))
	}
	return names
}

// rejectOldAge is how old entries may be when reject_old_samples is set and no
// age is given, as in Loki.
const rejectOldAge = 7 * 24 * time.Hour

// ParseLimits reads the settings of Loki's limits_config that are about what
// is pushed, under the same names, as YAML, and applies them to l. A key that
// is not known is an error; all errors are reported at once.
func ParseLimits(text []byte, l *Limits) error {
	var f limitsFile
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		names := LimitNames()
		return fmt.Errorf("%w: known keys are %s and %s", err, strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
	}
	return f.apply(l)
}

func (f *limitsFile) apply(l *Limits) error {
	var errs []error
	number := func(key string, v *int, to *int) {
		switch {
		case v == nil:
		case *v <= 0:
			errs = append(errs, fmt.Errorf("%s is %d: it must be above 0", key, *v))
		default:
			*to = *v
		}
	}
	number("max_line_size", (*int)(f.MaxLine), &l.MaxLine)
	number("max_label_names_per_series", f.MaxLabelNames, &l.MaxLabelNames)
	number("max_label_name_length", f.MaxLabelName, &l.MaxLabelName)
	number("max_label_value_length", f.MaxLabelValue, &l.MaxLabelValue)
	number("max_structured_metadata_size", (*int)(f.MetadataBytes), &l.MaxMetadataBytes)
	number("max_structured_metadata_entries_count", f.MetadataPairs, &l.MaxMetadataPairs)
	set(&l.TruncateLines, f.TruncateLines)
	set(&l.TruncateMarker, f.TruncateMarker)
	set(&l.ServiceNameLabels, f.ServiceName)
	set(&l.LevelFields, f.LevelFields)
	if l.TruncateLines && len(l.TruncateMarker) >= l.MaxLine && l.MaxLine > 0 {
		errs = append(errs, fmt.Errorf("max_line_size_truncate_identifier of %d bytes leaves no room in a line of max_line_size %d",
			len(l.TruncateMarker), l.MaxLine))
	}
	if f.Levels != nil {
		l.NoLevels = !*f.Levels
	}
	switch {
	case f.RejectOld != nil && !*f.RejectOld:
		l.MaxAge = 0
	case f.MaxAge != nil:
		l.MaxAge = time.Duration(*f.MaxAge)
	case f.RejectOld != nil:
		l.MaxAge = rejectOldAge
	}
	if f.MaxFuture != nil {
		l.MaxFuture = max(time.Duration(*f.MaxFuture), 1) // 0 would mean the default
	}
	if f.OTLP != nil {
		if err := f.OTLP.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("otlp_config: %w", err))
		} else {
			l.OTLP = *f.OTLP
		}
	}
	return errors.Join(errs...)
}

func set[T any](to, v *T) {
	if v != nil {
		*to = *v
	}
}

// fileSize is a number of bytes: 262144, 256KB or 256KiB. As in Loki, KB means
// 1024 bytes.
type fileSize int

func (s *fileSize) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case float64:
		if v != float64(int(v)) {
			return fmt.Errorf("%s is not a whole number of bytes", b)
		}
		*s = fileSize(v)
		return nil
	case string:
		n, err := parseFileSize(v)
		*s = fileSize(n)
		return err
	}
	return fmt.Errorf("%s is not a size: write it like 262144 or 256KB", b)
}

func parseFileSize(s string) (int64, error) {
	text := s
	if n := len(s); n > 2 && s[n-1] == 'B' && (s[n-2] == 'K' || s[n-2] == 'M') {
		text = s[:n-1] + "iB"
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<30 {
		return 0, fmt.Errorf("%q is not a size up to 1GB: write it like 262144 or 256KB", s)
	}
	return int64(n), nil
}

// fileDuration is a duration as Prometheus writes it: 7d, 12h, 10m.
type fileDuration time.Duration

func (d *fileDuration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%s is not a duration: write it like 10m, 12h or 7d", b)
	}
	v, err := commonmodel.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write it like 10m, 12h or 7d", text)
	}
	*d = fileDuration(v)
	return nil
}
