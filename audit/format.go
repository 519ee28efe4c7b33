package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Format makes one record's text, without a line feed.
type Format func(Record) ([]byte, error)

// Formats by their names in a configuration.
var Formats = map[string]Format{
	"json": func(r Record) ([]byte, error) { return json.Marshal(r) },
	"ocsf": formatOCSF,
	"cef":  formatCEF,
}

// product is what the formats call this program.
const product = "kong-prefect"

// severity is from 0 to 10, as CEF has it.
func severity(r Record) int {
	switch {
	case r.Type == Recovered, r.Type == RunUnknown, r.Type == RunDead:
		return 7
	case r.Type == AccessRefused, r.Outcome == "FAILED", r.Outcome == "CRASHED":
		return 5
	case r.Type == CredentialRotated, r.Type == PolicyChanged, r.Type == KeysChanged:
		return 4
	default:
		return 2
	}
}

// formatCEF makes ArcSight's Common Event Format, version 0: in its header
// backslash and pipe are escaped, in values backslash, equals sign and line
// ends.
func formatCEF(r Record) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "CEF:0|%s|%s|%d|%s|%s|%d|", product, product, SchemaVersion, cefHeader(string(r.Type)), cefHeader(title(r)), severity(r))
	for _, pair := range [][2]string{
		{"rt", decimal(uint64(max(r.Time.UnixMilli(), 0)))},
		{"externalId", decimal(r.Seq)},
		{"dvchost", r.Node},
		{"src", r.SourceAddress},
		{"suser", r.Caller.Who()},
		{"suid", subjectOf(r)},
		{"spriv", strings.Join(r.Roles, " ")},
		{"requestMethod", r.Method},
		{"reason", r.Reason},
		{"outcome", r.Outcome},
		{"cs1Label", labelIf(r.Deployment, "deployment")}, {"cs1", r.Deployment},
		{"cs2Label", labelIf(r.RunID, "run")}, {"cs2", r.RunID},
		{"cs3Label", labelIf(r.RequestID, "request")}, {"cs3", r.RequestID},
		{"cs4Label", labelIf(r.Rule, "rule")}, {"cs4", r.Rule},
		{"cs5Label", labelIf(r.Prev, "previousSHA256")}, {"cs5", r.Prev},
		{"msg", r.Detail},
	} {
		if pair[1] != "" {
			fmt.Fprintf(&b, "%s=%s ", pair[0], cefValue.Replace(pair[1]))
		}
	}
	return bytes.TrimRight(b.Bytes(), " "), nil
}

func cefHeader(s string) string { return cefEscapes.Replace(s) }

var (
	cefEscapes = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\n", " ", "\r", " ")
	cefValue   = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\n", `\n`, "\r", `\r`)
)

func labelIf(value, label string) string {
	if value == "" {
		return ""
	}
	return label
}

func subjectOf(r Record) string {
	if r.Caller == nil {
		return ""
	}
	return r.Caller.Subject
}

func title(r Record) string {
	if result := r.Result(); result != "" && len(result) < 60 {
		return string(r.Type) + ": " + result
	}
	return string(r.Type)
}

// The numbers of OCSF 1.3.0's class API Activity.
const (
	ocsfVersion     = "1.3.0"
	ocsfCategory    = 6    // Application Activity
	ocsfAPIActivity = 6003 // API Activity
	ocsfCreate      = 1
	ocsfOther       = 99
	ocsfSuccess     = 1
	ocsfFailure     = 2
)

// formatOCSF makes an event of OCSF's class API Activity. What the class has no
// place for is in unmapped.
func formatOCSF(r Record) ([]byte, error) {
	activity := ocsfOther
	if r.Type == RunCreated {
		activity = ocsfCreate
	}
	status := ocsfSuccess
	if severity(r) >= 5 {
		status = ocsfFailure
	}
	source := map[string]any{"name": "unknown"}
	if r.SourceAddress != "" {
		source = map[string]any{"ip": r.SourceAddress}
	}
	actor := map[string]any{"app_name": product}
	if c := r.Caller; c != nil {
		actor = map[string]any{"user": map[string]any{"uid": c.Subject, "name": c.Name, "domain": c.Issuer, "type": string(c.Kind)}}
	}
	resources := []map[string]any{}
	if r.RunID != "" {
		resources = append(resources, map[string]any{"uid": r.RunID, "type": "flow_run", "name": r.Deployment})
	}
	return json.Marshal(map[string]any{
		"category_uid": ocsfCategory, "class_uid": ocsfAPIActivity, "activity_id": activity,
		"type_uid": ocsfAPIActivity*100 + activity, "time": r.Time.UnixMilli(),
		"severity_id": ocsfSeverity(r), "status_id": status, "status_code": r.Reason, "message": title(r),
		"metadata": map[string]any{
			"version": ocsfVersion, "uid": decimal(r.Seq), "logged_time": r.Time.UnixMilli(),
			"product": map[string]any{"name": product, "vendor_name": product},
		},
		"actor": actor, "src_endpoint": source, "resources": resources,
		"api":      map[string]any{"operation": string(r.Type), "request": map[string]any{"uid": r.RequestID}},
		"unmapped": r,
	})
}

// ocsfSeverity is 1 informational, 3 medium, 4 high.
func ocsfSeverity(r Record) int {
	switch s := severity(r); {
	case s >= 7:
		return 4
	case s >= 5:
		return 3
	default:
		return 1
	}
}
