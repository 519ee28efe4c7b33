package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Verifier checks a checkpoint's signature into claims; *signing.Keys and a
// published key set are such.
type Verifier interface {
	Verify(compact, typ string, claims jwt.Claims, options ...jwt.ParserOption) error
}

// VerifyOptions for [Verify].
type VerifyOptions struct {
	// Keys check the checkpoints. Required.
	Keys Verifier
	// FirstSeq is the number of the oldest record that must be there. Default:
	// 1. Larger where older files were archived.
	FirstSeq uint64
	// Expect, where given, is a checkpoint's record that was kept elsewhere: the
	// log must still hold it.
	Expect []byte
	// Progress is told how many records are checked, after each. Default: it
	// isn't.
	Progress func(records uint64)
	// MaxUnsigned is the longest time from one record to another without a
	// checkpoint over the first. Default: ten minutes; the log itself signs
	// after one.
	MaxUnsigned time.Duration
}

// Report is what [Verify] found.
type Report struct {
	Files       int       `json:"files"`
	Records     uint64    `json:"records"`
	First       uint64    `json:"first"`
	Last        uint64    `json:"last"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	Checkpoints int       `json:"checkpoints"`
	// Signed is the number of the last record that a good checkpoint covers.
	Signed uint64 `json:"signed"`
	// TornBytes are of a record that a process was writing when it was killed.
	// They prove nothing and are no defect.
	TornBytes int `json:"torn_bytes,omitempty"`
	// Recovered counts how often the chain tells that its end was torn or gone.
	Recovered int      `json:"recovered"`
	Defects   []Defect `json:"defects"`
}

// Unsigned counts the records behind the last good checkpoint: they are chained,
// and who can write to the folder could have made them.
func (r Report) Unsigned() uint64 {
	if r.Checkpoints == 0 {
		return r.Records
	}
	checkpoint := r.Signed + 1
	return max(r.Last, checkpoint) - checkpoint
}

// Defect is one thing wrong with the log, and where.
type Defect struct {
	Code string `json:"code"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Seq  uint64 `json:"seq,omitempty"`
	What string `json:"what"`
}

// The codes of defects.
const (
	DefectUnreadable = "unreadable" // a line is no record
	DefectChanged    = "changed"    // a record isn't the one that the next one names
	DefectMissing    = "missing"    // records are not there
	DefectOrder      = "order"      // a record is not where it belongs, or twice
	DefectTruncated  = "truncated"  // the log ends before a checkpoint that is known
	DefectSignature  = "signature"  // a checkpoint isn't ours, or not of this chain
	DefectUnsigned   = "unsigned"   // records went on for too long without a checkpoint
)

// maxUnsignedRecords may follow each other without a checkpoint: several times
// as many as the processes of a node leave unsigned together. Times alone are
// no bound, for who makes records makes their times too.
const maxUnsignedRecords = 10_000

// maxDefects bounds a report; a log with more is not in order anyway.
const maxDefects = 100

// Verify reads the whole log and says what is wrong with it. The error is for
// a log that can't be read at all.
func Verify(dir string, o VerifyOptions) (Report, error) {
	if o.Keys == nil {
		return Report{}, errors.New("audit: the keys of the checkpoints are required")
	}
	o.FirstSeq = max(o.FirstSeq, 1)
	if o.MaxUnsigned == 0 {
		o.MaxUnsigned = 10 * time.Minute
	}
	// What is known comes first: the log may be written to meanwhile, and must
	// hold all that was signed before it is looked at.
	v := &verification{options: o, known: map[uint64]knownHead{}, report: Report{Defects: []Defect{}}}
	if err := v.know(dir); err != nil {
		return Report{}, err
	}
	files, closeFiles, err := snapshot(dir)
	if err != nil {
		return Report{}, fmt.Errorf("audit: %w", err)
	}
	defer closeFiles()
	if len(files) == 0 {
		return Report{}, fmt.Errorf("audit: there is no log in %s", dir)
	}
	v.report.Files = len(files)
	for i, file := range files {
		if err := v.file(file, i == len(files)-1); err != nil {
			return Report{}, err
		}
	}
	v.end()
	return v.report, nil
}

// verification is one run of Verify.
type verification struct {
	options VerifyOptions
	report  Report
	at      position
	name    string
	line    int
	// unsignedSince is the time of the oldest record that no good checkpoint
	// covers yet, and unsignedRecords how many there are.
	unsignedSince   time.Time
	unsignedRecords int
	// known are places of the chain that were signed and kept elsewhere.
	known map[uint64]knownHead
}

type knownHead struct {
	hash, from string
}

func (v *verification) defect(code string, seq uint64, format string, args ...any) {
	if len(v.report.Defects) < maxDefects {
		v.report.Defects = append(v.report.Defects, Defect{
			Code: code, File: v.name, Line: v.line, Seq: seq, What: fmt.Sprintf(format, args...),
		})
	}
}

// know takes in the checkpoints that were kept outside of the chain.
func (v *verification) know(dir string) error {
	beside, err := os.ReadFile(filepath.Join(dir, checkpointName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("audit: %w", err)
	}
	for from, line := range map[string][]byte{checkpointName: beside, "the expected checkpoint": v.options.Expect} {
		if len(line) == 0 {
			continue
		}
		var r Record
		var c checkpointClaims
		err := json.Unmarshal(bytes.TrimSpace(line), &r)
		if err == nil {
			err = v.options.Keys.Verify(r.Signature, CheckpointType, &c)
		}
		if err != nil {
			v.defect(DefectSignature, r.Seq, "%s is not signed by the gateway's keys: %v", from, err)
			continue
		}
		v.known[c.Seq] = knownHead{c.Hash, from}
	}
	return nil
}

func (v *verification) file(file logFile, last bool) error {
	v.name, v.line = filepath.Base(file.path), 0
	torn, err := file.eachLine(func(line []byte) error {
		v.line++
		v.record(line)
		if v.options.Progress != nil {
			v.options.Progress(v.report.Records)
		}
		return nil
	})
	if errors.Is(err, errRecord) {
		v.defect(DefectUnreadable, 0, "%v", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if len(torn) > 0 {
		if last {
			v.report.TornBytes = len(torn)
		} else {
			v.line++
			v.defect(DefectUnreadable, 0, "the file ends in the middle of a record")
		}
	}
	return nil
}

func (v *verification) record(line []byte) {
	r, err := parseLine(line)
	if err != nil {
		v.defect(DefectUnreadable, 0, "%v", err)
		v.at = position{v.at.seq + 1, sha256.Sum256(line)}
		return
	}
	v.place(r)
	v.at = position{r.Seq, sha256.Sum256(line)}
	v.report.Records++
	v.report.Last = r.Seq
	if v.report.From.IsZero() {
		v.report.From, v.report.First = r.Time, r.Seq
	}
	v.report.To = r.Time
	v.unsigned(r)
	switch r.Type {
	case Checkpoint:
		v.checkpoint(r)
	case Recovered:
		v.report.Recovered++
	}
	if k, ok := v.known[r.Seq]; ok {
		if k.hash != v.at.last.String() {
			v.defect(DefectChanged, r.Seq, "%s signs another record under this number", k.from)
		}
		delete(v.known, r.Seq)
	}
}

// unsigned watches how long records go on without a checkpoint: who makes a
// chain of their own can't sign it.
func (v *verification) unsigned(r Record) {
	if v.unsignedSince.IsZero() {
		v.unsignedSince = r.Time
	}
	v.unsignedRecords++
	if r.Time.Sub(v.unsignedSince) > v.options.MaxUnsigned || v.unsignedRecords > maxUnsignedRecords {
		v.defect(DefectUnsigned, r.Seq, "records %d to %d, since %s, are not covered by a checkpoint",
			v.report.Signed+1, r.Seq, v.unsignedSince.Format(time.RFC3339))
		v.unsignedSince, v.unsignedRecords = r.Time, 0
	}
}

// place checks that a record stands where the chain says.
func (v *verification) place(r Record) {
	switch {
	case v.report.Records == 0 && r.Seq > v.options.FirstSeq:
		v.defect(DefectMissing, r.Seq, "the log begins with record %d: records %d to %d are not here", r.Seq, v.options.FirstSeq, r.Seq-1)
		return
	case v.report.Records == 0 && r.Seq > 1:
		return // what came before is archived
	case r.Seq > v.at.seq+1:
		v.defect(DefectMissing, r.Seq, "records %d to %d are missing before this one", v.at.seq+1, r.Seq-1)
		return
	case r.Seq <= v.at.seq:
		v.defect(DefectOrder, r.Seq, "record %d stands behind record %d", r.Seq, v.at.seq)
		return
	}
	if r.Prev != v.at.last.String() {
		v.defect(DefectChanged, v.at.seq, "record %d is not the one that record %d names: one of the two was changed", v.at.seq, r.Seq)
	}
}

// checkpoint checks that a checkpoint signs what stands before it.
func (v *verification) checkpoint(r Record) {
	var c checkpointClaims
	if err := v.options.Keys.Verify(r.Signature, CheckpointType, &c); err != nil {
		v.defect(DefectSignature, r.Seq, "the checkpoint is not signed by the gateway's keys: %v", err)
		return
	}
	if c.Seq != r.Seq-1 || c.Hash != r.Prev {
		v.defect(DefectSignature, r.Seq, "the checkpoint was signed for another place of the chain: record %d", c.Seq)
		return
	}
	v.report.Checkpoints++
	v.report.Signed = c.Seq
	v.unsignedSince, v.unsignedRecords = time.Time{}, 0
}

func (v *verification) end() {
	v.name, v.line = "", 0
	for seq, k := range v.known {
		if seq > v.report.Last {
			v.defect(DefectTruncated, seq, "the log ends with record %d, and %s was signed after record %d: the end was cut off", v.report.Last, k.from, seq)
		} else if seq >= v.options.FirstSeq {
			v.defect(DefectMissing, seq, "%s was signed after record %d, which is not here", k.from, seq)
		}
	}
	if v.report.First == 1 && v.report.Checkpoints == 0 {
		v.defect(DefectUnsigned, v.report.Last, "no record is covered by a checkpoint, and the very first ones always are: somebody without the gateway's key may have made them all")
	}
	if v.report.Last < v.options.FirstSeq {
		v.defect(DefectMissing, v.options.FirstSeq, "record %d is not here", v.options.FirstSeq)
	}
}
