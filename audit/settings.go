package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"

	"go.yaml.in/yaml/v3"
)

// SinkSettings are the sinks of a process, a YAML file.
type SinkSettings struct {
	Sinks []SinkSetting `yaml:"sinks"`
}

// SinkSetting is one sink.
type SinkSetting struct {
	// Name is the sink's own: its place in the log is kept under it. Small
	// letters, digits and hyphens.
	Name string `yaml:"name"`
	// Type is stdout, syslog, http or otlp.
	Type string `yaml:"type"`
	// Format is json, ocsf or cef; for http also cloudevents. Default: json,
	// for http cloudevents; otlp has its own.
	Format string `yaml:"format"`
	// URL is where http and otlp post to.
	URL string `yaml:"url"`
	// AuthorizationFile holds the Authorization header's value for http and
	// otlp.
	AuthorizationFile string `yaml:"authorization_file"`
	// Network (udp, tcp, unix) and Address are syslog's; without them the
	// machine's own daemon.
	Network string `yaml:"network"`
	Address string `yaml:"address"`
}

// ErrSinks is in the errors of a file of sinks.
var ErrSinks = errors.New("audit sinks")

// ReadSinks reads a file of sinks and returns all that is wrong with it at
// once.
func ReadSinks(path string, stdout io.Writer) (map[string]Sink, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSinks, err)
	}
	var settings SinkSettings
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&settings); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSinks, path, err)
	}
	sinks := map[string]Sink{}
	var problems []error
	for i, s := range settings.Sinks {
		sink, err := s.sink(stdout)
		if err == nil && sinks[s.Name] != nil {
			err = fmt.Errorf("another sink has the name %q", s.Name)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%w: %s: sinks[%d]: %w", ErrSinks, path, i+1, err))
			continue
		}
		sinks[s.Name] = sink
	}
	return sinks, errors.Join(problems...)
}

func (s SinkSetting) sink(stdout io.Writer) (Sink, error) {
	if !sinkName.MatchString(s.Name) {
		return nil, fmt.Errorf("name: small letters, digits and hyphens, not %q", s.Name)
	}
	format, err := s.format()
	if err != nil {
		return nil, err
	}
	switch s.Type {
	case "stdout":
		return WriterSink{Writer: stdout, Format: format}, nil
	case "syslog":
		if !slices.Contains([]string{"", "udp", "tcp", "unix"}, s.Network) || (s.Network == "") != (s.Address == "") {
			return nil, errors.New("network: udp, tcp or unix, with an address; or neither")
		}
		return &SyslogSink{Network: s.Network, Address: s.Address, Format: format}, nil
	case "http", "otlp":
		if u, err := url.Parse(s.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("url: an http or https address is needed")
		}
		if s.Type == "otlp" {
			return &OTLPSink{URL: s.URL, AuthorizationFile: s.AuthorizationFile}, nil
		}
		return &HTTPSink{URL: s.URL, AuthorizationFile: s.AuthorizationFile, Format: format}, nil
	default:
		return nil, fmt.Errorf("type: stdout, syslog, http or otlp, not %q", s.Type)
	}
}

// format is nil for CloudEvents.
func (s SinkSetting) format() (Format, error) {
	name := s.Format
	switch {
	case s.Type == "http" && (name == "" || name == "cloudevents"), s.Type == "otlp" && name == "":
		return nil, nil
	case s.Type == "http" && name == "cef":
		return nil, errors.New("format: cef is a line of text, for syslog and stdout")
	case name == "":
		name = "json"
	}
	format, ok := Formats[name]
	if !ok || s.Type == "otlp" {
		return nil, fmt.Errorf("format: %q isn't there for %s", s.Format, s.Type)
	}
	return format, nil
}
