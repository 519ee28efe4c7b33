package devgateway

const inAnswer = inResponse | inLog

var responseMethods = map[string]pdkMethod{
	"kong.response.get_status": {inAnswer, number(func(x *exchange) int {
		if x.phase == phaseLog {
			return x.sent.status
		}
		return x.resp.status
	})},
	"kong.response.get_header": {inAnswer, func(x *exchange, a message, _ []byte) ([]byte, error) {
		return wrapString(tableLookup(x.responseTable(100), a.str(1))), nil
	}},
	"kong.response.get_headers": {inAnswer, func(x *exchange, a message, _ []byte) ([]byte, error) {
		n := int32Arg(a)
		if x.phase == phaseLog {
			n = 100
		}
		if err := checkMax(n); err != nil {
			return nil, err
		}
		return encodeStruct(x.responseTable(n)), nil
	}},
	"kong.response.get_source": {inAnswer, text((*exchange).source)},
	"kong.response.set_status": {inRequest, void(func(x *exchange, a message) error {
		status := int32Arg(a)
		if status < 100 || status > 599 {
			return raise("code must be a number between 100 and 599")
		}
		x.resp.status = status
		return nil
	})},
	"kong.response.set_header": {inRequest, void(func(x *exchange, a message) error {
		k, v, err := kv(a)
		if err != nil {
			return err
		}
		return x.setResponseHeader(k, v)
	})},
	"kong.response.add_header": {inRequest, void(func(x *exchange, a message) error {
		k, v, err := kv(a)
		if err != nil {
			return err
		}
		values, err := headerValues(k, v)
		for _, s := range values {
			x.resp.addHeader(k, s)
		}
		return err
	})},
	"kong.response.clear_header": {inRequest, void(func(x *exchange, a message) error {
		x.resp.clearHeader(a.str(1))
		return nil
	})},
	"kong.response.set_headers": {inRequest, func(x *exchange, _ message, raw []byte) ([]byte, error) {
		d, err := decodeStruct(raw)
		if err != nil {
			return nil, raise("malformed arguments")
		}
		for k, v := range d {
			if _, err := headerValues(k, v); err != nil {
				return nil, err
			}
		}
		for _, k := range sortedKeys(d) {
			if err := x.setResponseHeader(k, d[k]); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}},
	"kong.response.exit": {inRequest, pdkExit},
}

// source says who made the answer.
func (x *exchange) source() string {
	switch {
	case x.unexpected:
		return "error"
	case x.exited:
		return "exit"
	case x.proxied:
		return "service"
	}
	return "error"
}

func (x *exchange) responseTable(limit int) dict {
	if x.phase == phaseLog {
		return x.sent.headers.table(limit)
	}
	hs := append(headers{{"connection", "keep-alive"}}, x.resp.headers...)
	return hs.table(limit)
}

func (x *exchange) setResponseHeader(name string, v any) error {
	values, err := headerValues(name, v)
	if err != nil {
		return err
	}
	if headerVar(name) == "transfer_encoding" {
		x.gw.log.kong("warn", "manually setting Transfer-Encoding. Ignored.")
		return nil
	}
	x.resp.setHeader(name, values...)
	return nil
}

// pdkExit never replies: the answer is taken and the event is over.
func pdkExit(x *exchange, a message, _ []byte) ([]byte, error) {
	status := int32Arg(a)
	if status < 100 || status > 599 {
		return nil, raise("code must be a number between 100 and 599")
	}
	out := &answer{status: status, body: []byte(a.str(2))}
	if f, ok := a.last(3); ok {
		d, err := decodeStruct(f.bytes)
		if err != nil {
			return nil, raise("malformed headers")
		}
		for _, k := range sortedKeys(d) {
			values, err := headerValues(k, d[k])
			if err != nil {
				return nil, err
			}
			for _, v := range values {
				out.headers.add(k, v)
			}
		}
	}
	x.exitWith(out)
	return nil, errExit
}
