package devgateway

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const maxConfigBytes = 16 << 20

// adminServer is as much of Kong's Admin API as a database-less Kong's tests
// need: GET /, GET /status, GET /plugins, GET /consumers and POST /config.
type adminServer struct {
	listener net.Listener
	server   *http.Server
}

func startAdmin(gw *Gateway, addr string) (*adminServer, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, map[string]any{"version": "3.9.3", "node_id": gw.nodeID, "tagline": "devgateway: for development and tests, never for production"})
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, map[string]any{"database": map[string]any{"reachable": true}, "server": map[string]any{"connections_active": 1}})
	})
	mux.HandleFunc("GET /plugins", func(w http.ResponseWriter, _ *http.Request) {
		data := []any{}
		for _, p := range gw.current().decl.Plugins {
			data = append(data, map[string]any{"id": p.ID, "name": p.Name, "config": toJSON(p.Config)})
		}
		writeJSON(w, 200, map[string]any{"data": data})
	})
	mux.HandleFunc("GET /consumers", func(w http.ResponseWriter, r *http.Request) {
		data := []any{}
		query := r.URL.Query()
		for _, c := range gw.current().decl.Consumers {
			if !query.Has("custom_id") || c.CustomID == query.Get("custom_id") {
				data = append(data, toJSON(c.table()))
			}
		}
		writeJSON(w, 200, map[string]any{"data": data, "next": nil})
	})
	mux.HandleFunc("POST /config", gw.postConfig)
	s := &adminServer{listener: l, server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}}
	gw.wg.Go(func() { _ = s.server.Serve(l) }) // ends with close
	return s, nil
}

func (a *adminServer) addr() string { return a.listener.Addr().String() }

func (a *adminServer) close() { _ = a.server.Close() }

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}

// postConfig takes the document itself, or {"config": "document"}, or a form.
func (gw *Gateway) postConfig(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConfigBytes))
	if err != nil {
		writeJSON(w, 413, map[string]any{"message": "request body too large"})
		return
	}
	var wrapped struct {
		Config any `json:"config"`
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") && json.Unmarshal(data, &wrapped) == nil {
		switch c := wrapped.Config.(type) {
		case string:
			data = []byte(c)
		case map[string]any:
			data, _ = json.Marshal(c) // it was JSON a moment ago
		}
	}
	gen, err := gw.parse(data)
	var ce *ConfigError
	switch {
	case errors.As(err, &ce):
		writeJSON(w, 400, map[string]any{"code": 14, "name": "invalid declarative configuration", "message": ce.Error(), "fields": ce.fields()})
	case err != nil:
		writeJSON(w, 400, map[string]any{"code": 14, "name": "invalid declarative configuration", "message": err.Error(), "fields": map[string]any{}})
	default:
		gw.swap(gen)
		writeJSON(w, 201, map[string]any{"services": len(gen.decl.Services), "routes": len(gen.decl.Routes), "plugins": len(gen.decl.Plugins)})
	}
}
