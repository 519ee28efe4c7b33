package plugin

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/kong-prefect/kong-prefect/claims"
	"github.com/kong-prefect/kong-prefect/outbox"
	"github.com/kong-prefect/kong-prefect/pluginserver"
	"github.com/kong-prefect/kong-prefect/policy"
)

var updatePages = flag.Bool("update-pages", false, "write the generated pages of docs/")

// TestPages holds docs/configuration.md and docs/problems.md to the code they
// are made of. go test ./plugin -update-pages writes them.
func TestPages(t *testing.T) {
	for path, page := range map[string]string{
		"../docs/configuration.md": configurationPage(),
		"../docs/problems.md":      problemsPage(),
	} {
		if *updatePages {
			require.NoError(t, os.WriteFile(path, []byte(page), 0o644))
		}
		have, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, page, string(have), "%s is out of date: go test ./plugin -update-pages", path)
	}
}

// What Kong is told of a plugin changes only on purpose: each word of it is in
// a file, to be seen in a change's own diff.
func TestDumpsAreTheGoldenFiles(t *testing.T) {
	p := NewProcess(slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	for _, hosted := range p.Plugins() {
		var dump, readable bytes.Buffer
		require.NoError(t, pluginserver.Dump(&dump, hosted))
		require.NoError(t, json.Indent(&readable, dump.Bytes(), "", "  "))
		path := filepath.Join("testdata", "dump", hosted.Name+".json")
		if *updatePages {
			require.NoError(t, os.WriteFile(path, readable.Bytes(), 0o644))
		}
		golden, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(golden), readable.String(), "%s is out of date: go test ./plugin -update-pages", path)
	}
}

func configurationPage() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\nGenerated from the plugins' own definition. Kong checks every field before a plugin sees it; a field marked referenceable takes `{vault://...}`.\n")
	for _, p := range []struct {
		name   string
		config any
	}{{IdentityName, IdentityConfig{}}, {TriggerName, TriggerConfig{}}, {GuardName, GuardConfig{}}} {
		fmt.Fprintf(&b, "\n## %s\n\n| field | type | default | rules | meaning |\n|---|---|---|---|---|\n", p.name)
		writeFields(&b, "", configOf(Schema(p.name, p.config)))
	}
	return b.String()
}

// configOf finds the fields of the config record in a schema.
func configOf(schema map[string]any) []any {
	for _, f := range schema["fields"].([]any) {
		if config, ok := f.(map[string]any)["config"]; ok {
			return config.(map[string]any)["fields"].([]any)
		}
	}
	return nil
}

func writeFields(b *strings.Builder, path string, fields []any) {
	for _, f := range fields {
		for name, definition := range f.(map[string]any) {
			d := definition.(map[string]any)
			fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", path+name, typeName(d), defaultText(d), rules(d), d["description"])
			if below, ok := d["fields"].([]any); ok {
				writeFields(b, path+name+".", below)
			}
			if e, ok := d["elements"].(map[string]any); ok && e["fields"] != nil {
				writeFields(b, path+name+"[].", e["fields"].([]any))
			}
		}
	}
}

func typeName(d map[string]any) string {
	if e, ok := d["elements"].(map[string]any); ok {
		return "array of " + e["type"].(string)
	}
	return d["type"].(string)
}

func defaultText(d map[string]any) string {
	if v, ok := d["default"].(json.RawMessage); ok {
		return "`" + string(v) + "`"
	}
	return ""
}

func rules(d map[string]any) string {
	var list []string
	for _, name := range []string{"required", "len_min", "one_of", "between", "match", "referenceable", "encrypted"} {
		switch v := d[name].(type) {
		case nil:
		case bool:
			if v {
				list = append(list, name)
			}
		default:
			data, _ := json.Marshal(v)
			list = append(list, name+" `"+strings.ReplaceAll(string(data), "|", "\\|")+"`")
		}
	}
	return strings.Join(list, ", ")
}

func problemsPage() string {
	var b strings.Builder
	b.WriteString("# Refusals\n\nGenerated from the code. Every refusal is a problem document (RFC 9457, `application/problem+json`) whose `code` is one of these; the same code stands in Kong's log beside the request id. A code never changes its meaning.\n")
	for _, code := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[code]
		fmt.Fprintf(&b, "\n## %s\n\n%d. %s\n", code, k.status, k.detail)
		switch k.challenge {
		case "":
		case "-":
			b.WriteString("\nThe answer carries a `WWW-Authenticate: Bearer` challenge without an error.\n")
		default:
			fmt.Fprintf(&b, "\nThe answer carries a `WWW-Authenticate: Bearer` challenge with `error=\"%s\"`.\n", k.challenge)
		}
		fmt.Fprintf(&b, "\nIn Kong's log: level `%s`.\n", k.level)
	}
	return b.String()
}

// TestREADMEConfiguration holds the YAML that the README shows to the plugins'
// own definition.
func TestREADMEConfiguration(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		checkKongYAML(t, []byte(block[1]))
	}
}

// TestTriggerPage does the same for docs/trigger.md, and compiles each route.
func TestTriggerPage(t *testing.T) {
	page, err := os.ReadFile("../docs/trigger.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 6)
	for _, block := range blocks {
		checkKongYAML(t, []byte(block[1]))
		var doc struct {
			Plugins []struct {
				Config map[string]any `yaml:"config"`
			} `yaml:"plugins"`
		}
		require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(block[1], "{vault://env/quota-redis-url}", "redis://redis:6379/0")), &doc))
		doc.Plugins[0].Config["stamp"] = map[string]any{"write": []string{"created_by"}}
		config, err := json.Marshal(doc.Plugins[0].Config)
		require.NoError(t, err)
		h, err := compileTrigger(startProcess(t), config)
		require.NoError(t, err, block[1])
		if strings.Contains(block[1], "no-agent") {
			checkAgentsAreBound(t, h.policy)
		}
	}
}

// checkAgentsAreBound decides for whoever may be an agent, by the page's rules.
func checkAgentsAreBound(t *testing.T, p *policy.Policy) {
	t.Helper()
	for name, c := range map[string]struct {
		caller claims.Identity
		free   bool
	}{
		"a person":              {claims.Identity{Kind: claims.User, Client: "web"}, true},
		"a service":             {claims.Identity{Kind: claims.Service, Client: "svc"}, true},
		"an agent":              {claims.Identity{Kind: claims.Agent, Client: "agent-writer"}, false},
		"a person, by an agent": {claims.Identity{Kind: claims.User, Client: "web", Actors: []claims.Actor{{Client: "agent-writer", Kind: claims.Agent}}}, false},
	} {
		for limit, within := range map[string]bool{"100": true, "101": false} {
			facts := policy.Facts{
				Identity:   policy.CallerOf(c.caller, []string{"runner"}),
				Parameters: map[string]any{"limit": json.Number(limit)}, Deployment: policy.Deployment{Tags: []string{"agents"}},
			}
			d := p.Decide(facts)
			require.NoError(t, d.Failed, name)
			require.Equal(t, c.free || within, d.Allowed, "%s, %s", name, limit)
		}
	}
}

// TestOutboxPage does the same for docs/outbox.md.
func TestOutboxPage(t *testing.T) {
	page, err := os.ReadFile("../docs/outbox.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 1)
	checkKongYAML(t, []byte(blocks[0][1]))
	limits := outbox.Limits{}
	limits.SetDefaults()
	for _, n := range []int{limits.MaxWaiting, limits.MaxWaitingPerQueue} {
		require.Contains(t, strings.ReplaceAll(string(page), ",", ""), fmt.Sprint(n))
	}
}

// TestKongYAML does the same for the repository's kong.yml.
func TestKongYAML(t *testing.T) {
	data, err := os.ReadFile("../kong.yml")
	require.NoError(t, err)
	checkKongYAML(t, data)
}

func checkKongYAML(t *testing.T, data []byte) {
	t.Helper()
	type entity struct {
		Name   string         `yaml:"name"`
		Config map[string]any `yaml:"config"`
	}
	var doc struct {
		Plugins  []entity `yaml:"plugins"`
		Services []struct {
			Plugins []entity `yaml:"plugins"`
			Routes  []struct {
				Plugins []entity `yaml:"plugins"`
			} `yaml:"routes"`
		} `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal(data, &doc))
	found := doc.Plugins
	for _, s := range doc.Services {
		found = append(found, s.Plugins...)
		for _, r := range s.Routes {
			found = append(found, r.Plugins...)
		}
	}
	require.NotEmpty(t, found)
	for _, p := range found {
		var config any
		switch p.Name {
		case IdentityName:
			config = &IdentityConfig{}
		case TriggerName:
			config = &TriggerConfig{}
		case GuardName:
			config = &GuardConfig{}
		default:
			continue
		}
		raw, err := json.Marshal(p.Config)
		require.NoError(t, err)
		require.NoError(t, decodeConfig(raw, config), p.Name)
		strict := json.NewDecoder(strings.NewReader(string(raw)))
		strict.DisallowUnknownFields()
		require.NoError(t, strict.Decode(config), p.Name)
	}
}
