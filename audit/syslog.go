package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// SyslogSink sends to a syslog daemon, facility authpriv.
//
// Syslog has no acknowledgement, and what is written to a connection that the
// daemon has left is lost without an error. So each batch has a connection of
// its own over tcp and unix: its end is told to the daemon, and only the
// daemon's end of it says that all was read. Datagrams (udp, and the machine's
// own daemon) can get lost.
type SyslogSink struct {
	// Network is udp, tcp or unix; empty is the machine's own daemon.
	Network, Address string
	Format           Format
}

// localDaemons are where the machine's own listens.
var localDaemons = []string{"/dev/log", "/var/run/syslog", "/var/run/log"}

// The priorities of RFC 5424, section 6.2.1: facility authpriv (10).
const (
	syslogWarning = 10*8 + 4
	syslogInfo    = 10*8 + 6
)

// Send returns once the daemon has read all, as far as the network can tell.
func (s *SyslogSink) Send(ctx context.Context, records []Record) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	// Who ends the process doesn't wait for a daemon that reads nothing.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for _, r := range records {
		line, err := s.line(r)
		if err != nil {
			return err
		}
		if _, err := conn.Write(line); err != nil {
			return err
		}
	}
	stream, ok := conn.(interface{ CloseWrite() error })
	if !ok || conn.RemoteAddr().Network() == "unixgram" {
		return nil
	}
	if err := stream.CloseWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(conn, maxAnswerBytes)); err != nil {
		return fmt.Errorf("the daemon didn't end the connection, so it isn't known what it has read: %w", err)
	}
	return nil
}

func (s *SyslogSink) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	if s.Network != "" {
		return dialer.DialContext(ctx, s.Network, s.Address)
	}
	failed := errors.New("the machine has no syslog daemon")
	for _, path := range localDaemons {
		for _, network := range []string{"unixgram", "unix"} {
			conn, err := dialer.DialContext(ctx, network, path)
			if err == nil {
				return conn, nil
			}
			failed = errors.Join(failed, err)
		}
	}
	return nil, failed
}

// line is one record as daemons read it: RFC 3164's form, with RFC 3339's time
// and the host's name where it goes over a network.
func (s *SyslogSink) line(r Record) ([]byte, error) {
	text, err := s.Format(r)
	if err != nil {
		return nil, err
	}
	priority := syslogInfo
	if severity(r) >= 5 {
		priority = syslogWarning
	}
	head := r.Time.Format(time.RFC3339) + " " + r.Node
	if s.Network == "" {
		head = r.Time.Local().Format(time.Stamp)
	}
	return fmt.Appendf(nil, "<%d>%s %s[%d]: %s\n", priority, head, product, os.Getpid(), text), nil
}
