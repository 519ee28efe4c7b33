package audit

import (
	"context"
	"encoding/json"
	"net/http"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// OTLPSink sends OpenTelemetry log records by OTLP over HTTP, as protobuf.
type OTLPSink struct {
	// URL is the collector's, http://collector:4318/v1/logs for instance.
	URL               string
	AuthorizationFile string
	Client            *http.Client
}

// Send posts one batch.
func (s *OTLPSink) Send(ctx context.Context, records []Record) error {
	list := make([]*logs.LogRecord, 0, len(records))
	for _, r := range records {
		record, err := logRecord(r)
		if err != nil {
			return err
		}
		list = append(list, record)
	}
	// LogsData has the wire form of the collector's ExportLogsServiceRequest,
	// without its dependency on gRPC.
	body, err := proto.Marshal(&logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{text("service.name", product)}},
		ScopeLogs: []*logs.ScopeLogs{{
			Scope:      &common.InstrumentationScope{Name: product + "/audit"},
			LogRecords: list,
		}},
	}}})
	if err != nil {
		return err
	}
	return postBatch(ctx, s.Client, s.URL, s.AuthorizationFile, "application/x-protobuf", body)
}

func logRecord(r Record) (*logs.LogRecord, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	record := &logs.LogRecord{
		TimeUnixNano: uint64(max(r.Time.UnixNano(), 0)), ObservedTimeUnixNano: uint64(max(r.Time.UnixNano(), 0)),
		SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_INFO, SeverityText: "INFO",
		Body: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: string(body)}},
	}
	if severity(r) >= 5 {
		record.SeverityNumber, record.SeverityText = logs.SeverityNumber_SEVERITY_NUMBER_WARN, "WARN"
	}
	for _, pair := range [][2]string{
		{"event.name", string(r.Type)}, {"host.name", r.Node}, {"enduser.id", subjectOf(r)}, {"client.address", r.SourceAddress},
		{"kong_prefect.record", decimal(r.Seq)}, {"kong_prefect.deployment", r.Deployment}, {"kong_prefect.run_id", r.RunID},
		{"kong_prefect.request_id", r.RequestID}, {"kong_prefect.reason", r.Reason}, {"kong_prefect.outcome", r.Outcome},
	} {
		if pair[1] != "" {
			record.Attributes = append(record.Attributes, text(pair[0], pair[1]))
		}
	}
	return record, nil
}

func text(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}
