package devgateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// compareSerialized compares log entries by their keys and by values that stay
// the same.
func compareSerialized(want, got []byte, m *masker) string {
	read := func(b []byte) map[string]any {
		msg, err := parseMessage(b)
		var v map[string]any
		if err == nil {
			_ = json.Unmarshal([]byte(msg.str(1)), &v)
		}
		return v
	}
	w, g := flatten("", read(want), m), flatten("", read(got), m)
	if d := diffLines("log entry", w, g); d != nil {
		return strings.Join(d, "; ")
	}
	return ""
}

var volatileEntry = regexp.MustCompile(`latenc|size$|started_at|balancer_start|_at$|tries\.\d+\.state|upstream_status`)

func flatten(prefix string, v any, m *masker) []string {
	var out []string
	switch x := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(x) {
			out = append(out, flatten(prefix+"."+k, x[k], m)...)
		}
	case []any:
		for i, e := range x {
			out = append(out, flatten(fmt.Sprintf("%s.%d", prefix, i), e, m)...)
		}
	default:
		if volatileEntry.MatchString(prefix) || volatileHeaders[prefix[strings.LastIndex(prefix, ".")+1:]] {
			v = "*"
		}
		out = append(out, m.mask(fmt.Sprintf("%s=%v", prefix, v)))
	}
	return out
}

func compareStarts(e *transcript, got []recordedStart, m *masker) []string {
	var diffs []string
	for _, w := range e.Starts {
		if w.Frame == nil {
			continue
		}
		frame, err := base64.StdEncoding.DecodeString(*w.Frame)
		if err != nil {
			return []string{err.Error()}
		}
		config := startConfig(frame)
		if config == nil {
			continue // too long to be recorded whole
		}
		i := slices.IndexFunc(got, func(s recordedStart) bool {
			return s.plugin == w.Plugin && s.config["__plugin_id"] == config["__plugin_id"]
		})
		if i < 0 {
			diffs = append(diffs, "start_instance "+w.Plugin+": missing")
			continue
		}
		diffs = append(diffs, diffLines("start_instance "+w.Plugin, startLines(config, m), startLines(got[i].config, m))...)
	}
	return diffs
}

func startConfig(frame []byte) map[string]any {
	call, err := parseMessage(frame)
	if err != nil {
		return nil
	}
	f, _ := call.last(fieldStartInstance)
	cmd, err := parseMessage(f.bytes)
	if err != nil {
		return nil
	}
	var config map[string]any
	if json.Unmarshal([]byte(cmd.str(2)), &config) != nil {
		return nil
	}
	return config
}

func startLines(config map[string]any, m *masker) []string {
	c := map[string]any{}
	for k, v := range config {
		if k != "__seq__" {
			c[k] = v
		}
	}
	lines := flatten("", c, m)
	for i, l := range lines {
		if len(l) > 2000 {
			lines[i] = l[:40]
		}
	}
	return lines
}
