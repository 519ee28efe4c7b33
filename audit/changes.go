package audit

import (
	"context"
	"errors"
	"fmt"
)

// maxChanges bounds the news that wait until the log has been read.
const maxChanges = 4096

// thing is what can change.
type thing struct {
	kind           Type
	plugin, object string
}

func thingOf(e Event) thing { return thing{e.Type, e.Plugin, e.Object} }

// InUse tells what is in use from now on: a configuration, a policy, a set of
// keys. [Log.FollowChanges] puts it on record where it is another than before.
// It never waits.
func (l *Log) InUse(e Event) {
	if e.Time.IsZero() {
		e.Time = l.options.Now()
	}
	select {
	case l.inUse <- e:
	default:
		l.options.Logger.Error("a change is not on record: too many at once", "type", e.Type, "plugin", e.Plugin, "object", e.Object, "digest", e.ConfigDigest)
	}
}

// FollowChanges puts on record what changed, until ctx ends. What counts is
// what the log says last of the same thing, so a process that starts with the
// configuration of the one before it changes nothing.
func (l *Log) FollowChanges(ctx context.Context) error {
	last := map[thing]string{}
	// To its end, also when ctx ends meanwhile: what is known in part only
	// would make changes of what is as before.
	if err := Records(l.options.Dir, 0, func(r Record) bool {
		switch r.Type {
		case ConfigurationChanged, PolicyChanged, KeysChanged:
			last[thingOf(r.Event)] = r.ConfigDigest
		}
		return true
	}); err != nil {
		return err
	}
	for {
		select {
		case e := <-l.inUse:
			l.changed(last, e)
		case <-ctx.Done():
			for { // what was told before the end counts
				select {
				case e := <-l.inUse:
					l.changed(last, e)
				default:
					return ctx.Err()
				}
			}
		}
	}
}

func (l *Log) changed(last map[thing]string, e Event) {
	if last[thingOf(e)] == e.ConfigDigest {
		return
	}
	// The process ends without waiting for anything that ctx could end.
	err := l.Append(context.Background(), e, true)
	if errors.Is(err, ErrTooLong) {
		e.Detail = fmt.Sprintf("%d rights, too many for one record: the digest names them", len(e.Rights))
		e.Rights = nil
		err = l.Append(context.Background(), e, true)
	}
	if err != nil {
		l.options.Logger.Error("a change can't be put on record", "type", e.Type, "plugin", e.Plugin, "object", e.Object, "error", err)
		return
	}
	last[thingOf(e)] = e.ConfigDigest
}
