package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// maxRecordBytes bounds one line. What is longer is refused at Append.
const maxRecordBytes = 64 << 10

// hashLen is the length of a hash in a record: SHA-256, in hexadecimal.
const hashLen = 2 * sha256.Size

// genesis is what the very first record names as its predecessor.
var genesis = hash{}

// hash is SHA-256 over the bytes of one line without its line feed.
type hash [sha256.Size]byte

func (h hash) String() string { return hex.EncodeToString(h[:]) }

// Record is one line of the log: an event with its place in the chain.
//
// A line is {"seq":N,"prev":"HASH",...event}: Seq counts from 1 without gaps,
// Prev is the SHA-256 of the line before.
type Record struct {
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"`
	Event
}

// position is a place in the chain: after seq records, the last of which has
// the hash.
type position struct {
	seq  uint64
	last hash
}

// appendLine writes the next record to buf and moves the position.
func (p *position) appendLine(buf, event []byte) []byte {
	start := len(buf)
	buf = append(buf, `{"seq":`...)
	buf = strconv.AppendUint(buf, p.seq+1, 10)
	buf = append(buf, `,"prev":"`...)
	buf = hex.AppendEncode(buf, p.last[:])
	buf = append(buf, `",`...)
	buf = append(buf, event[1:]...)
	p.seq++
	p.last = sha256.Sum256(buf[start:])
	return append(buf, '\n')
}

// errRecord is in errors about a line that is no record.
var errRecord = errors.New("not a record")

// parseLine reads one line without its line feed.
func parseLine(line []byte) (Record, error) {
	var r Record
	if len(line) > maxRecordBytes {
		return r, fmt.Errorf("%w: longer than %d bytes", errRecord, maxRecordBytes)
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("%w: %w", errRecord, err)
	}
	if d.InputOffset() != int64(len(line)) {
		return r, fmt.Errorf("%w: something follows it on its line", errRecord)
	}
	if r.Seq == 0 || len(r.Prev) != hashLen {
		return r, fmt.Errorf("%w: no place in the chain", errRecord)
	}
	return r, nil
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
