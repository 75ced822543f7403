package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// SchemaURL is where the schema is published; values.yaml names it for editors.
const SchemaURL = "https://raw.githubusercontent.com/logstack-dev/kubectl-logstack/main/pkg/install/values.schema.json"

var limitsType = reflect.TypeFor[Limits]()

// Schema returns the JSON schema (2020-12) of a values file. Types come from
// Values, descriptions and defaults from the comments and values of
// values.yaml: one source for what is printed, checked and completed.
func Schema() ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(DefaultValuesFile, &doc); err != nil {
		return nil, err
	}
	s, err := schemaOf(valuesType, doc.Content[0], "")
	if err != nil {
		return nil, err
	}
	s["$schema"], s["$id"], s["title"] = "https://json-schema.org/draft/2020-12/schema", SchemaURL, "Values of kubectl logstack install"
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err = enc.Encode(s)
	return buf.Bytes(), err
}

// schemaOf describes a type; n is its default in values.yaml, nil where it has
// none there (the elements of lists).
func schemaOf(t reflect.Type, n *yaml.Node, path string) (map[string]any, error) {
	s := map[string]any{}
	if t == autoType {
		s["enum"], s["default"] = []any{string(AutoDetect), true, false}, n.Value
		return s, nil
	}
	if t == limitsType {
		properties := map[string]any{}
		for _, name := range lokiapi.LimitNames() {
			properties[name] = map[string]any{}
		}
		s["type"], s["properties"], s["additionalProperties"] = "object", properties, false
		return s, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), n, path)
	case reflect.Struct:
		properties := map[string]any{}
		for f := range t.Fields() {
			key := jsonName(f)
			var value, name *yaml.Node
			if n != nil {
				if name, value = entry(n, key); value == nil {
					return nil, fmt.Errorf("values.yaml lacks %s", join(path, key))
				}
			}
			p, err := schemaOf(f.Type, value, join(path, key))
			if err != nil {
				return nil, err
			}
			if name != nil && name.HeadComment != "" {
				p["description"] = plain(name.HeadComment)
			}
			properties[key] = p
		}
		s["type"], s["properties"], s["additionalProperties"] = "object", properties, false
	case reflect.Map:
		s["type"], s["additionalProperties"] = "object", map[string]any{"type": "string"}
	case reflect.Slice:
		items, err := schemaOf(t.Elem(), nil, path)
		if err != nil {
			return nil, err
		}
		s["type"], s["items"] = "array", items
	case reflect.String:
		// YAML reads 0 and 1.20 as numbers; they are taken as text.
		s["type"] = []string{"string", "number"}
		if n != nil {
			s["default"] = n.Value
		}
	case reflect.Bool:
		s["type"] = "boolean"
		if n != nil {
			s["default"] = n.Value == "true"
		}
	case reflect.Int64, reflect.Int32:
		s["type"] = "integer"
		if n != nil {
			if d, err := strconv.Atoi(n.Value); err == nil {
				s["default"] = d
			}
		}
	default:
		return nil, fmt.Errorf("%s: no schema for %s", path, t)
	}
	return s, nil
}

func entry(n *yaml.Node, key string) (name, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// plain takes the comment signs off.
func plain(comment string) string {
	lines := strings.Split(comment, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(strings.TrimPrefix(l, "#"))
	}
	return strings.Join(lines, " ")
}
