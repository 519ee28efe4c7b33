package devgateway

import (
	"google.golang.org/protobuf/encoding/protowire"
)

var clientMethods = map[string]pdkMethod{
	"kong.client.get_ip":             {inRequest, text(func(x *exchange) string { return x.peer.Addr().String() })},
	"kong.client.get_forwarded_ip":   {inRequest, text(func(x *exchange) string { return x.remote.String() })},
	"kong.client.get_port":           {inRequest, number(func(x *exchange) int { return int(x.peer.Port()) })},
	"kong.client.get_forwarded_port": {inRequest, number(func(x *exchange) int { return x.realPort })},
	"kong.client.get_protocol":       {inLater | inLog, getProtocol},
	"kong.client.get_credential": {inLater | inLog, func(x *exchange, _ message, _ []byte) ([]byte, error) {
		return encodeFields(x.credential, credentialFields), nil
	}},
	"kong.client.get_consumer": {inLater | inLog, func(x *exchange, _ message, _ []byte) ([]byte, error) {
		return encodeFields(x.consumer, consumerFields), nil
	}},
	"kong.client.load_consumer": {inLater | inLog, loadConsumer},
	"kong.client.authenticate":  {inAccess, void(authenticate)},
}

// messageField names one field of a message that comes from a Lua table.
type messageField struct {
	num  protowire.Number
	name string
	kind string // "string", "int" or "strings"
}

var (
	consumerFields = []messageField{{1, "id", "string"}, {2, "created_at", "int"}, {3, "username", "string"},
		{4, "custom_id", "string"}, {5, "tags", "strings"}}
	credentialFields = []messageField{{1, "id", "string"}, {2, "consumer_id", "string"}}
)

func encodeFields(d dict, fields []messageField) []byte {
	var b []byte
	for _, f := range fields {
		switch v := d[f.name].(type) {
		case string:
			if v != "" {
				b = appendBytes(b, f.num, v)
			}
		case float64:
			if v != 0 {
				b = appendInt(b, f.num, int64(v))
			}
		case list:
			for _, e := range v {
				b = appendBytes(b, f.num, luaText(e))
			}
		}
	}
	return b
}

// decodeFields fills absent fields with proto3's defaults, as Kong's decoder
// does: an absent id is "", which is not nil.
func decodeFields(b []byte, fields []messageField) (dict, error) {
	m, err := parseMessage(b)
	if err != nil {
		return nil, raise("malformed message")
	}
	d := dict{}
	for _, f := range fields {
		switch f.kind {
		case "string":
			d[f.name] = m.str(f.num)
		case "int":
			d[f.name] = float64(m.int(f.num))
		case "strings":
			l := list{}
			for _, w := range m[f.num] {
				l = append(l, string(w.bytes))
			}
			d[f.name] = l
		}
	}
	return d, nil
}

// authenticate takes anything but nothing; it neither sets headers nor asks
// whether the consumer exists.
func authenticate(x *exchange, a message) error {
	consumer, hasConsumer := a.last(1)
	credential, hasCredential := a.last(2)
	if !hasConsumer && !hasCredential {
		return raise("either credential or consumer must be provided")
	}
	x.consumer, x.credential = nil, nil
	var err error
	if hasConsumer {
		if x.consumer, err = decodeFields(consumer.bytes, consumerFields); err != nil {
			return err
		}
	}
	if hasCredential {
		x.credential, err = decodeFields(credential.bytes, credentialFields)
	}
	return err
}

func loadConsumer(x *exchange, a message, _ []byte) ([]byte, error) {
	id, byName := a.str(1), a.int(2) != 0
	if !uuidPattern.MatchString(id) && !byName {
		return nil, raise("cannot load a consumer with an id that is not a uuid")
	}
	return encodeFields(x.conf.findConsumer(id, byName), consumerFields), nil
}

// findConsumer never looks at custom_id.
func (g *generation) findConsumer(key string, byName bool) dict {
	for _, c := range g.decl.Consumers {
		if c.ID == key || (byName && c.Username == key && key != "") {
			return c.table()
		}
	}
	return nil
}

func (c *Consumer) table() dict {
	d := dict{"id": c.ID, "created_at": float64(c.CreatedAt), "updated_at": float64(c.CreatedAt)}
	if c.Username != "" {
		d["username"] = c.Username
	}
	if c.CustomID != "" {
		d["custom_id"] = c.CustomID
	}
	if c.Tags != nil {
		d["tags"] = stringList(c.Tags)
	}
	return d
}

func stringList(s []string) list {
	l := make(list, len(s))
	for i, e := range s {
		l[i] = e
	}
	return l
}

func getProtocol(x *exchange, a message, _ []byte) ([]byte, error) {
	if x.route == nil {
		return nil, nil
	}
	if len(x.route.Protocols) == 1 {
		return wrapString(x.route.Protocols[0]), nil
	}
	if x.phase == phaseLog {
		return nil, raise("no request found")
	}
	if a.int(1) != 0 && x.trustedPeer() && x.forwardedScheme() == "https" {
		return wrapString("https"), nil
	}
	return wrapString("http"), nil
}

var routerMethods = map[string]pdkMethod{
	"kong.router.get_route": {inLater | inLog, func(x *exchange, _ message, _ []byte) ([]byte, error) {
		return encodeRoute(x.route), nil
	}},
	"kong.router.get_service": {inLater | inLog, func(x *exchange, _ message, _ []byte) ([]byte, error) {
		return encodeService(x.service), nil
	}},
}

func appendStrings(b []byte, n protowire.Number, l []string) []byte {
	for _, s := range l {
		b = appendBytes(b, n, s)
	}
	return b
}

func appendText(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return appendBytes(b, n, s)
}

// encodeRoute leaves headers and sources unset, as Kong does.
func encodeRoute(r *Route) []byte {
	if r == nil {
		return nil
	}
	var b []byte
	b = appendText(b, 1, r.ID)
	b = appendInt(b, 2, r.CreatedAt)
	b = appendInt(b, 3, r.CreatedAt)
	b = appendText(b, 4, r.Name)
	b = appendStrings(b, 5, r.Protocols)
	b = appendStrings(b, 6, r.Methods)
	b = appendStrings(b, 7, r.Hosts)
	b = appendStrings(b, 8, r.Paths)
	b = appendInt(b, 10, int64(r.HTTPSRedirectStatusCode))
	b = appendInt(b, 11, int64(r.RegexPriority))
	b = append(b, appendInt(nil, 12, int64(protowire.EncodeBool(r.StripPath)))...)
	b = append(b, appendInt(nil, 13, int64(protowire.EncodeBool(r.PreserveHost)))...)
	b = appendStrings(b, 14, r.SNIs)
	b = appendStrings(b, 17, r.Tags)
	if r.Service != nil {
		b = appendMessage(b, 18, appendBytes(nil, 1, r.Service.ID))
	}
	return b
}

func encodeService(s *Service) []byte {
	if s == nil {
		return nil
	}
	var b []byte
	b = appendText(b, 1, s.ID)
	b = appendInt(b, 2, s.CreatedAt)
	b = appendInt(b, 3, s.CreatedAt)
	b = appendText(b, 4, s.Name)
	b = appendInt(b, 5, int64(s.Retries))
	b = appendText(b, 6, s.Protocol)
	b = appendText(b, 7, s.Host)
	b = appendInt(b, 8, int64(s.Port))
	b = appendText(b, 9, s.Path)
	b = appendInt(b, 10, int64(s.ConnectTimeout))
	b = appendInt(b, 11, int64(s.WriteTimeout))
	b = appendInt(b, 12, int64(s.ReadTimeout))
	return appendStrings(b, 13, s.Tags)
}
