package devgateway

import (
	"math"
)

// Sets of phases a PDK function may be called in. The log phase of an external
// plugin runs in a timer, where nginx's request is gone: what needs it fails
// there although Kong's own phase check would let it pass.
const (
	inRewrite = 1 << iota
	inAccess
	inResponse
	inLog
	inRequest  = inRewrite | inAccess | inResponse
	inLater    = inAccess | inResponse
	everywhere = inRequest | inLog
)

var phaseBits = map[phase]int{phaseRewrite: inRewrite, phaseAccess: inAccess, phaseResponse: inResponse, phaseLog: inLog}

// pdkMethod is one function of Kong's PDK. A reply of nil is the zero-length
// frame: void, nil and "" look the same to a plugin.
type pdkMethod struct {
	phases int
	call   func(x *exchange, args message, raw []byte) ([]byte, error)
}

var pdkMethods map[string]pdkMethod

func init() {
	pdkMethods = map[string]pdkMethod{}
	for _, group := range []map[string]pdkMethod{
		clientMethods, contextMethods, logMethods, nginxMethods, nodeMethods, requestMethods, responseMethods,
		routerMethods, serviceMethods, serviceRequestMethods, serviceResponseMethods,
	} {
		for name, m := range group {
			pdkMethods[name] = m
		}
	}
}

// pdk answers one call of a plugin.
func (x *exchange) pdk(plugin, method string, raw []byte) ([]byte, error) {
	m, ok := pdkMethods[method]
	if !ok {
		// Not a Lua error: Kong's event ends with this text.
		return nil, errUnknownMethod(method)
	}
	args, err := parseMessage(raw)
	if err != nil {
		return nil, raise("malformed arguments of %s", method)
	}
	if m.phases&phaseBits[x.phase] == 0 {
		return nil, raise("function cannot be called in %s phase: %s", x.phase, method)
	}
	if level, ok := pdkLogLevels[method]; ok {
		return nil, x.pluginLog(plugin, level, raw)
	}
	return m.call(x, args, raw)
}

type errUnknownMethod string

func (e errUnknownMethod) Error() string { return "method \"" + string(e) + "\" not found" }

func void(f func(x *exchange, a message) error) func(*exchange, message, []byte) ([]byte, error) {
	return func(x *exchange, a message, _ []byte) ([]byte, error) { return nil, f(x, a) }
}

func text(f func(x *exchange) string) func(*exchange, message, []byte) ([]byte, error) {
	return func(x *exchange, _ message, _ []byte) ([]byte, error) { return wrapString(f(x)), nil }
}

func number(f func(x *exchange) int) func(*exchange, message, []byte) ([]byte, error) {
	return func(x *exchange, _ message, _ []byte) ([]byte, error) {
		n := f(x)
		if n == 0 {
			return nil, nil // nil
		}
		return wrapInt(int64(n)), nil
	}
}

// kv reads a KV: key and value.
func kv(a message) (string, any, error) {
	f, ok := a.last(2)
	if !ok {
		return a.str(1), nil, nil
	}
	v, err := decodeValue(f.bytes)
	if err != nil {
		return "", nil, raise("malformed value")
	}
	return a.str(1), v, nil
}

// int32Arg reads an Int.
func int32Arg(a message) int { return int(int32(a.int(1))) }

func checkMax(n int) error {
	if n < 1 || n > 1000 {
		return raise("max must be between 1 and 1000: given %d", n)
	}
	return nil
}

// headerValues is Kong's check and normal form of a header value: an empty
// string becomes a space, a table without array part means no header at all.
func headerValues(name string, v any) ([]string, error) {
	space := func(s string) string {
		if s == "" {
			return " "
		}
		return s
	}
	switch x := v.(type) {
	case string:
		return []string{space(x)}, nil
	case float64, bool:
		return []string{luaText(x)}, nil
	case dict:
		return nil, nil
	case list:
		var out []string
		for _, e := range x {
			if e == nil {
				break
			}
			s, ok := e.(string)
			if !ok {
				return nil, raise("invalid header value in array %q: expected string", name)
			}
			out = append(out, space(s))
		}
		return out, nil
	}
	return nil, raise("invalid header value for %q: got nil", name)
}

var contextMethods = map[string]pdkMethod{
	"kong.ctx.shared.set": {everywhere, void(func(x *exchange, a message) error {
		k, v, err := kv(a)
		if err != nil {
			return err
		}
		if v == nil {
			delete(x.shared, k)
		} else {
			x.shared[k] = v
		}
		return nil
	})},
	"kong.ctx.shared.get": {everywhere, func(x *exchange, a message, _ []byte) ([]byte, error) {
		return encodeValue(x.shared[a.str(1)]), nil
	}},
}

var nodeMethods = map[string]pdkMethod{
	"kong.node.get_id": {everywhere, text(func(x *exchange) string { return x.gw.nodeID })},
	"kong.node.get_memory_stats": {everywhere, func(*exchange, message, []byte) ([]byte, error) {
		return memoryStats(), nil
	}},
	"kong.ip.is_trusted": {everywhere, func(x *exchange, a message, _ []byte) ([]byte, error) {
		p, err := parsePrefix(a.str(1))
		return wrapBool(err == nil && x.trusted(p.Addr())), nil
	}},
}

// memoryStats has a fresh Kong's sizes; nobody should decide by them.
func memoryStats() []byte {
	dictStats := func(used, size int64) []byte { return appendInt(appendInt(nil, 1, used), 2, size) }
	var dicts []byte
	dicts = appendMessage(dicts, 1, dictStats(40960, 5242880))
	dicts = appendMessage(dicts, 2, dictStats(794624, 134217728))
	vm := appendInt(appendInt(nil, 1, 63359233), 2, int64(pid))
	var b []byte
	b = appendMessage(b, 1, dicts)
	return appendMessage(b, 2, vm)
}

func floatSeconds(ms int64) float64 { return math.Round(float64(ms)) / 1000 }
