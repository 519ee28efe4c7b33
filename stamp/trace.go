package stamp

import "regexp"

// LabelTrace is the label in which Prefect's server and its flows look for the
// trace that a run belongs to (prefect/telemetry/run_telemetry.py).
const LabelTrace = "__OTEL_TRACEPARENT"

// traceparent is the header's form (W3C Trace Context, section 3.2.2): version
// 00 has these four fields, later versions may have more after them.
var traceparent = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)

// traceLabel is the label's value; empty where the header isn't what the
// standard says, which asks to go on as if there were none.
func traceLabel(header string) string {
	m := traceparent.FindStringSubmatch(header)
	const noTrace, noParent = "00000000000000000000000000000000", "0000000000000000"
	if m == nil || m[1] == "ff" || m[1] == "00" && m[5] != "" || m[2] == noTrace || m[3] == noParent {
		return ""
	}
	return "00-" + m[2] + "-" + m[3] + "-" + m[4]
}
