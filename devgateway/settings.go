package devgateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// PluginServer is one entry of pluginserver_names.
type PluginServer struct {
	Name     string
	Socket   string // unix socket path; default PREFIX/NAME.socket
	StartCmd string // empty: the process is managed by someone else
	QueryCmd string
}

// Settings is what Kong reads from its environment, as far as devgateway
// honours it.
type Settings struct {
	DeclarativeConfig string
	Prefix            string
	ProxyListen       string // host:port, plain http; port 0 takes a free one
	AdminListen       string // empty: off
	Plugins           []string
	PluginServers     []PluginServer
	LogLevel          string // Kong's default is notice
	TrustedIPs        []netip.Prefix
	RealIPHeader      string                      // default X-Real-IP
	MainEnv           []string                    // NAME or NAME=VALUE, from nginx_main_env: passed to plugin servers
	Workers           int                         // simulated workers, default 1
	MaxReruns         int                         // re-runs of one event on closed sockets, default 1000 (Kong has no limit)
	ReadTimeout       time.Duration               // of each read from a plugin server, default 60 s
	ReloadOverlap     time.Duration               // how long a reload leaves the old plugin servers, default none
	Env               func(string) (string, bool) // for vault references; default os.LookupEnv
	Warnings          []string
}

// ignoredSettings are settings of Kong that change nothing a plugin or an
// upstream could see here; they are accepted with a warning.
var ignoredSettings = []string{
	"KONG_NGINX_", "KONG_PROXY_ACCESS_LOG", "KONG_PROXY_ERROR_LOG", "KONG_PROXY_STREAM_",
	"KONG_ADMIN_ACCESS_LOG", "KONG_ADMIN_ERROR_LOG", "KONG_ADMIN_GUI_", "KONG_ANONYMOUS_REPORTS",
	"KONG_STATUS_", "KONG_MEM_CACHE_SIZE", "KONG_DNS_", "KONG_LUA_", "KONG_UPSTREAM_KEEPALIVE_",
	"KONG_UNTRUSTED_LUA", "KONG_CLIENT_BODY_BUFFER_SIZE", "KONG_VERSION", "KONG_SHA256",
	"KONG_PASSWORD", "KONG_DOCKER_",
}

// SettingsFromEnv reads KONG_* from environ (as os.Environ gives it) and
// refuses, all at once and by name, what devgateway can't honour.
func SettingsFromEnv(environ []string) (Settings, error) {
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	s := Settings{
		LogLevel: "notice", RealIPHeader: "X-Real-IP",
		Env: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
	}
	r := &settingsReader{env: env, used: map[string]bool{}}
	r.basics(&s)
	r.pluginServers(&s)
	r.leftovers(&s)
	if len(r.problems) > 0 {
		sort.Strings(r.problems)
		return s, errors.New("settings refused: " + strings.Join(r.problems, "; "))
	}
	return s, nil
}

type settingsReader struct {
	env      map[string]string
	used     map[string]bool
	problems []string
}

func (r *settingsReader) get(key string) string {
	r.used[key] = true
	return strings.TrimSpace(r.env[key])
}

func (r *settingsReader) refuse(format string, a ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, a...))
}

func (r *settingsReader) basics(s *Settings) {
	if db := r.get("KONG_DATABASE"); db != "off" {
		r.refuse("KONG_DATABASE must be off, not %q", db)
	}
	if s.DeclarativeConfig = r.get("KONG_DECLARATIVE_CONFIG"); s.DeclarativeConfig == "" {
		r.refuse("KONG_DECLARATIVE_CONFIG (path of kong.yml) is missing")
	}
	if s.Prefix = r.get("KONG_PREFIX"); s.Prefix == "" {
		r.refuse("KONG_PREFIX (a directory) is missing")
	} else if abs, err := filepath.Abs(s.Prefix); err == nil {
		s.Prefix = abs
	}
	s.ProxyListen = r.listen("KONG_PROXY_LISTEN")
	if s.ProxyListen == "" {
		r.refuse("KONG_PROXY_LISTEN must be an address, such as 127.0.0.1:8000")
	}
	s.AdminListen = r.listen("KONG_ADMIN_LISTEN")
	s.Plugins = splitList(r.get("KONG_PLUGINS"))
	if len(s.Plugins) == 0 {
		s.Plugins = []string{"bundled"}
	}
	if l := r.get("KONG_LOG_LEVEL"); l != "" {
		if _, ok := logLevels[l]; !ok {
			r.refuse("KONG_LOG_LEVEL %q is none of debug, info, notice, warn, error, crit, alert, emerg", l)
		}
		s.LogLevel = l
	}
	for _, p := range splitList(r.get("KONG_TRUSTED_IPS")) {
		if prefix, err := parsePrefix(p); err != nil {
			r.refuse("KONG_TRUSTED_IPS: %q is no address or network", p)
		} else {
			s.TrustedIPs = append(s.TrustedIPs, prefix)
		}
	}
	if h := r.get("KONG_REAL_IP_HEADER"); h != "" {
		s.RealIPHeader = h
	}
	if f := r.get("KONG_ROUTER_FLAVOR"); f != "" && f != "traditional_compatible" {
		r.refuse("KONG_ROUTER_FLAVOR %q: only traditional_compatible is done here", f)
	}
	if role := r.get("KONG_ROLE"); role != "" && role != "traditional" {
		r.refuse("KONG_ROLE %q: only traditional is done here", role)
	}
	s.MainEnv = mainEnv(r.get("KONG_NGINX_MAIN_ENV"))
	s.Workers = r.workers()
	r.ownOptions(s)
}

func (r *settingsReader) ownOptions(s *Settings) {
	s.MaxReruns = r.count("DEVGATEWAY_MAX_RERUNS", 1000)
	s.ReadTimeout = time.Duration(r.count("DEVGATEWAY_READ_TIMEOUT_MS", 60000)) * time.Millisecond
	s.ReloadOverlap = time.Duration(r.count("DEVGATEWAY_RELOAD_OVERLAP_MS", 6000)) * time.Millisecond
}

// workers: DEVGATEWAY_WORKERS, or Kong's own setting, or one.
func (r *settingsReader) workers() int {
	n := 1
	if v := r.get("KONG_NGINX_WORKER_PROCESSES"); v != "" && v != "auto" {
		n = r.count("KONG_NGINX_WORKER_PROCESSES", 1)
	}
	return r.count("DEVGATEWAY_WORKERS", n)
}

func (r *settingsReader) count(key string, def int) int {
	v := r.get(key)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		r.refuse("%s must be a number of at least 1, not %q", key, v)
		return def
	}
	return n
}

// listen reads one "host:port [flags]" and refuses what needs TLS or HTTP/2.
func (r *settingsReader) listen(key string) string {
	v := r.get(key)
	if v == "" || v == "off" {
		return ""
	}
	entries := splitList(v)
	if len(entries) != 1 {
		r.refuse("%s: only one listener is done here", key)
		return ""
	}
	words := strings.Fields(entries[0])
	for _, flag := range words[1:] {
		switch {
		case flag == "reuseport", flag == "deferred", strings.HasPrefix(flag, "backlog="), flag == "so_keepalive=on":
		default:
			r.refuse("%s: flag %q is not done here (plain http/1.1 only)", key, flag)
		}
	}
	if _, _, err := net.SplitHostPort(words[0]); err != nil {
		r.refuse("%s: %q is no host:port", key, words[0])
		return ""
	}
	return words[0]
}

func (r *settingsReader) pluginServers(s *Settings) {
	for _, name := range splitList(r.get("KONG_PLUGINSERVER_NAMES")) {
		base := "KONG_PLUGINSERVER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		p := PluginServer{
			Name: name, Socket: r.get(base + "_SOCKET"),
			StartCmd: r.get(base + "_START_CMD"), QueryCmd: r.get(base + "_QUERY_CMD"),
		}
		if p.Socket == "" {
			p.Socket = filepath.Join(s.Prefix, name+".socket")
		}
		if p.QueryCmd == "" {
			r.refuse("%s_QUERY_CMD is missing", base)
		}
		s.PluginServers = append(s.PluginServers, p)
	}
}

func (r *settingsReader) leftovers(s *Settings) {
	for _, key := range sortedKeys(r.env) {
		if r.used[key] || (!strings.HasPrefix(key, "KONG_") && !strings.HasPrefix(key, "DEVGATEWAY_")) {
			continue
		}
		if slices.ContainsFunc(ignoredSettings, func(p string) bool { return strings.HasPrefix(key, p) }) {
			s.Warnings = append(s.Warnings, key+" is accepted but changes nothing here")
			continue
		}
		r.refuse("%s is unknown or not done here", key)
	}
}

// mainEnv reads the value of nginx's env directive; Kong's setting may hold
// several, separated by ";env".
func mainEnv(v string) []string {
	var out []string
	for part := range strings.SplitSeq(v, ";") {
		part = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(part), "env "))
		if part != "" {
			out = append(out, part)
		}
	}
	return out
}

func (s Settings) withDefaults() Settings {
	s.Workers = max(s.Workers, 1)
	if s.MaxReruns < 1 {
		s.MaxReruns = 1000
	}
	if s.ReadTimeout <= 0 {
		s.ReadTimeout = 60 * time.Second
	}
	if s.RealIPHeader == "" {
		s.RealIPHeader = "X-Real-IP"
	}
	if s.LogLevel == "" {
		s.LogLevel = "notice"
	}
	if s.Env == nil {
		s.Env = os.LookupEnv
	}
	return s
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func splitList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
