package pluginserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// Rehearsal is Kong's side of a request that exists in memory alone: what
// plugins ask is answered from its fields, and what they tell Kong is noted in
// them. Plugins that run one after the other see what those before them did.
//
// It speaks the protocol itself, so a plugin runs in it as it does under Kong.
type Rehearsal struct {
	Method, RawQuery string
	Path             string // percent-decoded, as kong.request.get_path gives it
	Headers          []Header
	Body             []byte
	// Vars are nginx's variables; one that isn't here is empty.
	Vars map[string]string
	// Consumers are those that Kong has.
	Consumers []Consumer

	// Shared is kong.ctx.shared, strings alone.
	Shared map[string]string
	// Groups is what was left for Kong's acl plugin.
	Groups []string
	// Consumer is the one that the request was given, and Credential its id.
	Consumer   Consumer
	Credential string
	// NewBody replaces the body where it isn't nil.
	NewBody []byte
	// Answer is the plugin's own; nil: the request passes.
	Answer *Answer
}

// errRehearsal says that a plugin asks what a rehearsal can't answer.
var errRehearsal = errors.New("a rehearsal has no answer")

// Rehearse runs the access phase of a plugin with a configuration, as a server
// with these options would. The context is the handler's.
func Rehearse(ctx context.Context, o Options, plugin string, config []byte, r *Rehearsal) error {
	s, err := New(o)
	if err != nil {
		return err
	}
	p := s.plugins[plugin]
	if p == nil {
		return fmt.Errorf("there is no plugin %q", plugin)
	}
	kong := &rehearsed{Rehearsal: r}
	l := newLink(kong, s.overdue)
	defer l.close()
	l.ctx = ctx
	if _, err := s.event(l, s.instances.start(p, config), phaseAccess); err != nil {
		return errors.Join(err, kong.failed)
	}
	return errors.Join(l.flush(), kong.failed)
}

// rehearsed is the connection to a rehearsal. All that the protocol needs of
// one is here; the rest of net.Conn is never called.
type rehearsed struct {
	*Rehearsal
	net.Conn
	replies bytes.Buffer
	failed  error
}

func (k *rehearsed) Read(p []byte) (int, error) { return k.replies.Read(p) }
func (k *rehearsed) Close() error               { return nil }

// Write takes whole calls, as link sends them, and answers each.
func (k *rehearsed) Write(p []byte) (int, error) {
	in := newFrameReader(bytes.NewReader(p))
	for {
		method, err := in.next()
		if errors.Is(err, io.EOF) {
			return len(p), nil
		}
		if err == nil && len(method) == 0 {
			return len(p), nil // the end of the event
		}
		var args []byte
		if err == nil {
			args, err = in.next()
		}
		var reply []byte
		if err == nil {
			reply, err = k.call(string(method), args)
		}
		if err != nil {
			k.failed = fmt.Errorf("%s: %w", method, err)
			return 0, k.failed
		}
		var frame []byte
		frame = binary.LittleEndian.AppendUint32(frame, uint32(len(reply)))
		k.replies.Write(append(frame, reply...))
	}
}

func (k *rehearsed) call(method string, args []byte) ([]byte, error) {
	switch method {
	case "kong.request.get_headers":
		return appendHeaders(nil, k.Headers), nil
	case "kong.request.get_method":
		return appendStringField(nil, 1, k.Method), nil
	case "kong.request.get_path":
		return appendStringField(nil, 1, k.Path), nil
	case "kong.request.get_raw_query":
		return appendStringField(nil, 1, k.RawQuery), nil
	case "kong.request.get_raw_body":
		return appendStringField(nil, bodyContent, string(k.Body)), nil
	case methodVar:
		name, err := decodeString(args)
		return appendStringField(nil, 1, k.Vars[name]), err
	case methodShared:
		key, err := decodeString(args)
		if value, ok := k.Shared[key]; ok {
			return appendStringValue(nil, value), err
		}
		return nil, err
	case "kong.client.load_consumer":
		return k.consumer(args)
	}
	if strings.HasPrefix(method, "kong.log.") {
		return nil, nil
	}
	return nil, k.told(method, args)
}

func (k *rehearsed) consumer(args []byte) ([]byte, error) {
	key, err := decodeString(args) // the spec's first field
	for _, c := range k.Consumers {
		if c.ID == key || c.Username == key {
			b := appendStringField(nil, consumerID, c.ID)
			b = appendStringField(b, consumerUsername, c.Username)
			return appendStringField(b, consumerCustomID, c.CustomID), err
		}
	}
	return nil, err
}

// told notes what a plugin tells Kong.
func (k *rehearsed) told(method string, args []byte) error {
	switch method {
	case "kong.service.request.set_headers":
		set, err := decodeHeaders(args)
		for _, h := range set {
			k.clear(h.Name)
			if len(h.Values) > 0 {
				k.Headers = append(k.Headers, Header{Name: strings.ToLower(h.Name), Values: h.Values})
			}
		}
		return err
	case "kong.service.request.clear_header":
		name, err := decodeString(args)
		k.clear(name)
		return err
	case "kong.service.request.set_raw_body":
		body, err := decodeString(args)
		k.NewBody = []byte(body)
		return err
	case "kong.ctx.shared.set":
		return k.share(args)
	case "kong.client.authenticate":
		return eachField(args, func(field int, part []byte, _ uint64) (err error) {
			switch field {
			case 1:
				k.Rehearsal.Consumer, err = decodeConsumer(part)
			case 2:
				k.Credential, err = decodeString(part)
			}
			return err
		})
	case "kong.response.exit":
		return k.exit(args)
	}
	return errRehearsal
}

func (k *rehearsed) clear(name string) {
	k.Headers = slices.DeleteFunc(k.Headers, func(h Header) bool { return strings.EqualFold(h.Name, name) })
}

// share takes a string, or a list of strings.
func (k *rehearsed) share(args []byte) error {
	var key string
	return eachField(args, func(field int, part []byte, _ uint64) error {
		if field == 1 {
			key = string(part)
			return nil
		}
		values, err := decodeStrings(nil, string(part))
		if text, isText, _ := decodeStringValue(part); isText {
			if k.Shared == nil {
				k.Shared = map[string]string{}
			}
			k.Shared[key] = text
		} else {
			k.Groups = values
		}
		return err
	})
}

func (k *rehearsed) exit(args []byte) error {
	k.Answer = &Answer{}
	return eachField(args, func(field int, part []byte, number uint64) (err error) {
		switch field {
		case 1:
			k.Answer.Status = int(number)
		case 2:
			k.Answer.Body = bytes.Clone(part)
		case 3:
			k.Answer.Headers, err = decodeHeaders(part)
		}
		return err
	})
}
