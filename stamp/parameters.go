package stamp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrParameters says that parameters have no canonical form.
var ErrParameters = errors.New("the parameters can't be signed")

// templateKey marks a value that Prefect's server fills in when the run is
// created: a variable of the server's, or a template.
const templateKey = "__prefect_kind"

// Complete lays the parameters over the deployment's defaults, as Prefect
// does, so that what is signed and sent is all that will be stored. Defaults
// that the server fills in are left to it: their names are given apart.
func Complete(defaults, parameters map[string]any) (complete map[string]any, server []string) {
	complete = map[string]any{}
	for name, value := range defaults {
		if _, given := parameters[name]; !given && hasTemplate(value) {
			server = append(server, name)
			continue
		}
		complete[name] = value
	}
	maps.Copy(complete, parameters)
	slices.Sort(server)
	return complete, server
}

func hasTemplate(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		if _, ok := v[templateKey]; ok {
			return true
		}
		for _, below := range v {
			if hasTemplate(below) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, hasTemplate)
	}
	return false
}

// ParametersHash is the SHA-256, in hexadecimal, of the parameters' canonical
// JSON (RFC 8785) without those named in server.
//
// RFC 8785 knows no numbers but doubles. An integer whose digits a double
// can't give back is hashed as the string of its digits, as RFC 7493, section
// 2.2, has such numbers written: else 9007199254740993 could become
// 9007199254740992 unseen.
func ParametersHash(parameters map[string]any, server []string) (string, error) {
	signed := maps.Clone(parameters)
	if signed == nil {
		signed = map[string]any{}
	}
	maps.DeleteFunc(signed, func(name string, _ any) bool { return slices.Contains(server, name) })
	data, err := json.Marshal(signed)
	if err != nil {
		return "", ErrParameters // the error may quote a value
	}
	canonical, err := canonicalJSON(data)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

func canonicalJSON(data []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, ErrParameters
	}
	exact, err := json.Marshal(exactNumbers(value))
	if err != nil {
		return nil, ErrParameters
	}
	canonical := jsontext.Value(exact)
	if err := canonical.Canonicalize(); err != nil {
		return nil, ErrParameters
	}
	return canonical, nil
}

// exactNumbers replaces the integers that a double can't hold.
func exactNumbers(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, below := range v {
			v[name] = exactNumbers(below)
		}
	case []any:
		for i, below := range v {
			v[i] = exactNumbers(below)
		}
	case json.Number:
		digits := v.String()
		if strings.ContainsAny(digits, ".eE") {
			return v
		}
		if f, err := strconv.ParseFloat(digits, 64); err != nil || strconv.FormatFloat(f, 'f', -1, 64) != digits {
			return digits
		}
	}
	return value
}
