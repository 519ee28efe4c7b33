package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
)

// falsification is what somebody with write access does to the log: lines are
// of the whole log, without line feeds.
type falsification struct {
	name  string
	do    func(lines [][]byte) [][]byte
	finds []string // codes of defects, one of which must be found
}

func replace(lines [][]byte, i int, from, to string) [][]byte {
	if !bytes.Contains(lines[i], []byte(from)) {
		panic("nothing to replace in " + string(lines[i]))
	}
	lines[i] = bytes.Replace(lines[i], []byte(from), []byte(to), 1)
	return lines
}

// rechain makes a chain of the lines without anybody's key.
func rechain(lines [][]byte) [][]byte {
	prev := strings.Repeat("0", 64)
	for i, line := range lines {
		var r map[string]json.RawMessage
		if err := json.Unmarshal(line, &r); err != nil {
			panic(err)
		}
		_, rest, _ := bytes.Cut(line, []byte(`",`))
		lines[i] = fmt.Appendf(nil, `{"seq":%d,"prev":"%s",%s`, i+1, prev, rest)
		sum := sha256.Sum256(lines[i])
		prev = hex.EncodeToString(sum[:])
	}
	return lines
}

func withoutCheckpoints(lines [][]byte) [][]byte {
	return slices.DeleteFunc(lines, func(l []byte) bool { return bytes.Contains(l, []byte(`"type":"checkpoint"`)) })
}

var falsifications = []falsification{
	{"a field is changed", func(l [][]byte) [][]byte { return replace(l, 8, "svc-nightly", "svc-payroll") }, []string{audit.DefectChanged}},
	{"one blank is added", func(l [][]byte) [][]byte { return replace(l, 8, `"v":1`, `"v": 1`) }, []string{audit.DefectChanged}},
	{"a record is deleted", func(l [][]byte) [][]byte { return slices.Delete(l, 8, 9) }, []string{audit.DefectMissing}},
	{"the first record is deleted", func(l [][]byte) [][]byte { return l[1:] }, []string{audit.DefectMissing}},
	{"the end is cut off", func(l [][]byte) [][]byte { return l[:len(l)-6] }, []string{audit.DefectTruncated}},
	{"all is cut off", func([][]byte) [][]byte { return nil }, []string{audit.DefectTruncated}},
	{"two records are swapped", func(l [][]byte) [][]byte { l[8], l[9] = l[9], l[8]; return l }, []string{audit.DefectMissing, audit.DefectOrder}},
	{"a record stands twice", func(l [][]byte) [][]byte { return slices.Insert(l, 9, l[8]) }, []string{audit.DefectOrder}},
	{"a record is put in", func(l [][]byte) [][]byte {
		return slices.Insert(l, 9, []byte(`{"seq":10,"prev":"`+strings.Repeat("0", 64)+`","v":1,"time":"2026-01-01T00:00:00Z","type":"run.created"}`))
	}, []string{audit.DefectChanged, audit.DefectOrder}},
	{"a record is changed and all hashes made anew", func(l [][]byte) [][]byte { return rechain(replace(l, 8, "svc-nightly", "svc-payroll")) }, []string{audit.DefectSignature}},
	{"a record is deleted, all made anew, the checkpoints left out", func(l [][]byte) [][]byte {
		return rechain(withoutCheckpoints(slices.Delete(l, 8, 9)))
	}, []string{audit.DefectChanged, audit.DefectTruncated, audit.DefectMissing}},
	{"a checkpoint's signature is changed", func(l [][]byte) [][]byte {
		i := slices.IndexFunc(l, func(line []byte) bool { return bytes.Contains(line, []byte(`"signature":"ey`)) })
		return rechain(replace(l, i, `"signature":"ey`, `"signature":"eY`))
	}, []string{audit.DefectSignature}},
	{"a checkpoint is taken from another place", func(l [][]byte) [][]byte {
		var at []int
		for i, line := range l {
			if bytes.Contains(line, []byte(`"type":"checkpoint"`)) {
				at = append(at, i)
			}
		}
		_, rest, _ := bytes.Cut(l[at[0]], []byte(`",`))
		head, _, _ := bytes.Cut(l[at[1]], []byte(`",`))
		l[at[1]] = append(append(bytes.Clone(head), `",`...), rest...)
		return l
	}, []string{audit.DefectSignature}},
	{"a line is made unreadable", func(l [][]byte) [][]byte { l[8] = l[8][:20]; return l }, []string{audit.DefectUnreadable}},
	{"a line becomes endless", func(l [][]byte) [][]byte { l[8] = bytes.Repeat([]byte("x"), 1<<20); return l }, []string{audit.DefectUnreadable}},
}

func TestFalsificationsAreFound(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	for _, f := range falsifications {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log := open(t, audit.Options{Dir: dir, Signer: k, CheckpointRecords: 5})
			for i := range 20 {
				require.NoError(t, log.Append(t.Context(), event(i), true))
			}
			require.NoError(t, log.Close())
			require.Empty(t, verify(t, dir, k).Defects)

			path := filepath.Join(dir, "current.jsonl")
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			lines := f.do(bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")))
			require.NoError(t, os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600))

			var codes []string
			for _, d := range verify(t, dir, k).Defects {
				codes = append(codes, d.Code)
				require.NotEmpty(t, d.What)
			}
			require.True(t, slices.ContainsFunc(f.finds, func(code string) bool { return slices.Contains(codes, code) }), "found %v", codes)
		})
	}
}

func TestFalsificationsOfFilesAreFound(t *testing.T) {
	t.Parallel()
	k, stranger := newKeys(t), newKeys(t)
	fill := func(t *testing.T, k keys) string {
		dir := t.TempDir()
		log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 4 << 10})
		for i := range 40 {
			require.NoError(t, log.Append(t.Context(), event(i), true))
		}
		require.NoError(t, log.Close())
		return dir
	}
	sealed := func(t *testing.T, dir string) []string {
		files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(files), 3)
		return files
	}
	for _, c := range []struct {
		name  string
		do    func(t *testing.T, dir string)
		finds string
	}{
		{"a file is deleted", func(t *testing.T, dir string) { require.NoError(t, os.Remove(sealed(t, dir)[1])) }, audit.DefectMissing},
		{"the oldest file is deleted", func(t *testing.T, dir string) { require.NoError(t, os.Remove(sealed(t, dir)[0])) }, audit.DefectMissing},
		{"the newest file is deleted", func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "current.jsonl")))
		}, audit.DefectTruncated},
		{"two files change names", func(t *testing.T, dir string) {
			files := sealed(t, dir)
			require.NoError(t, os.Rename(files[1], files[1]+".x"))
			require.NoError(t, os.Rename(files[2], files[1]))
			require.NoError(t, os.Rename(files[1]+".x", files[2]))
		}, audit.DefectMissing},
		{"the checkpoints are left out, that beside the log too", func(t *testing.T, dir string) {
			for _, path := range append(sealed(t, dir), filepath.Join(dir, "current.jsonl")) {
				require.NoError(t, os.Remove(path))
			}
			require.NoError(t, os.Remove(filepath.Join(dir, "checkpoint.json")))
			lines := rechain([][]byte{[]byte(`{"seq":1,"prev":"0","v":1,"time":"2026-01-01T00:00:00Z","type":"process.started"}`)})
			require.NoError(t, os.WriteFile(filepath.Join(dir, "current.jsonl"), append(lines[0], '\n'), 0o600))
		}, audit.DefectUnsigned},
		{"far more is put in than may be unsigned", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "current.jsonl")
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			last := data[bytes.LastIndexByte(data[:len(data)-1], '\n')+1 : len(data)-1]
			var r audit.Record
			require.NoError(t, json.Unmarshal(last, &r))
			for i := range 10_001 {
				sum := sha256.Sum256(last)
				last = fmt.Appendf(nil, `{"seq":%d,"prev":"%x","v":1,"time":%q,"type":"run.created"}`, r.Seq+uint64(i)+1, sum, r.Time.Format(time.RFC3339))
				data = append(append(data, last...), '\n')
			}
			require.NoError(t, os.WriteFile(path, data, 0o600))
		}, audit.DefectUnsigned},
		{"all is replaced by a stranger's log", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.Rename(fill(t, stranger), dir))
		}, audit.DefectSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := fill(t, k)
			require.Empty(t, verify(t, dir, k).Defects)
			c.do(t, dir)
			var codes []string
			for _, d := range verify(t, dir, k).Defects {
				codes = append(codes, d.Code)
			}
			require.Contains(t, codes, c.finds)
		})
	}
}

func TestArchivedFilesAreNoDefect(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 4 << 10})
	for i := range 40 {
		require.NoError(t, log.Append(t.Context(), event(i), true))
	}
	require.NoError(t, log.Close())
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(files[0]))
	var first uint64
	_, err = fmt.Sscanf(filepath.Base(files[1]), "audit-%d.jsonl", &first)
	require.NoError(t, err)
	report, err := audit.Verify(dir, audit.VerifyOptions{Keys: k, FirstSeq: first})
	require.NoError(t, err)
	require.Empty(t, report.Defects)
	require.Equal(t, first, report.First)
}

// Who cuts the log back to an old checkpoint, the one beside it included, is
// found by a checkpoint that was kept elsewhere.
func TestRollBackIsFoundByACheckpointKeptElsewhere(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k, CheckpointRecords: 5})
	for i := range 10 {
		require.NoError(t, log.Append(t.Context(), event(i), true))
	}
	require.NoError(t, log.Close())
	elsewhere, err := os.ReadFile(filepath.Join(dir, "checkpoint.json"))
	require.NoError(t, err)
	path := filepath.Join(dir, "current.jsonl")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	i := bytes.Index(data, []byte(`"type":"checkpoint"`))
	end := i + bytes.IndexByte(data[i:], '\n') + 1
	start := bytes.LastIndexByte(data[:i], '\n') + 1
	require.NoError(t, os.WriteFile(path, data[:end], 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint.json"), data[start:end], 0o600))

	require.Empty(t, verify(t, dir, k).Defects, "nothing in the folder shows it")
	report, err := audit.Verify(dir, audit.VerifyOptions{Keys: k, Expect: elsewhere})
	require.NoError(t, err)
	require.Equal(t, audit.DefectTruncated, report.Defects[0].Code)
}

// What is missing stays visible: a process that goes on behind it doesn't begin a new chain, and so doesn't hide it.
func TestWhatIsGoneStaysGoneForAll(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	cut := func(t *testing.T, path string) {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, bytes.Join(bytes.SplitAfter(data, []byte("\n"))[:9], nil), 0o600))
	}
	remove := func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }
	for _, c := range []struct {
		name  string
		inUse bool
		do    func(t *testing.T, path string)
	}{
		{"the file is removed while it is written to", true, remove},
		{"the file is removed between two processes", false, remove},
		{"the file is cut between two processes", false, cut},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "current.jsonl")
			log := open(t, audit.Options{Dir: dir, Signer: k, CheckpointRecords: 5})
			for i := range 20 {
				require.NoError(t, log.Append(t.Context(), event(i), true))
			}
			if !c.inUse {
				require.NoError(t, log.Close())
			}
			last := records(t, dir)[len(records(t, dir))-1].Seq
			c.do(t, path)
			if !c.inUse {
				log = open(t, audit.Options{Dir: dir, Signer: k})
			}
			require.NoError(t, log.Append(t.Context(), event(21), true))
			require.NoError(t, log.Close())

			report := verify(t, dir, k)
			require.Len(t, report.Defects, 1, "%v", report.Defects)
			require.Equal(t, audit.DefectMissing, report.Defects[0].Code)
			require.Contains(t, report.Defects[0].What, fmt.Sprintf("to %d are", last))
			require.Greater(t, report.Last, last)
			told := slices.IndexFunc(records(t, dir), func(r audit.Record) bool { return r.Type == audit.Recovered })
			require.Contains(t, records(t, dir)[told].Detail, "are gone")
		})
	}
}

// Whoever archives all sealed files at a moment when the current one is empty takes nothing from the chain.
func TestChainGoesOnBehindWhatIsArchived(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 1}) // each group of records is a file
	require.NoError(t, log.Append(t.Context(), event(1), true))
	require.NoError(t, log.Close())
	all := records(t, dir)
	next := all[len(all)-1].Seq + 1
	files, err := filepath.Glob(filepath.Join(dir, "audit-*.jsonl"))
	require.NoError(t, err)
	for _, path := range files {
		require.NoError(t, os.Remove(path))
	}
	log = open(t, audit.Options{Dir: dir, Signer: k})
	require.NoError(t, log.Close())
	report, err := audit.Verify(dir, audit.VerifyOptions{Keys: k, FirstSeq: next})
	require.NoError(t, err)
	require.Empty(t, report.Defects)
	require.Equal(t, next, report.First)
}

// A checkpoint that isn't ours moves nothing: who can write to the folder can't spend all numbers.
func TestForgedCheckpointMovesNothing(t *testing.T) {
	t.Parallel()
	dir, k, stranger := t.TempDir(), newKeys(t), newKeys(t)
	other := t.TempDir()
	log := open(t, audit.Options{Dir: other, Signer: stranger})
	require.NoError(t, log.Close())
	forged, err := os.ReadFile(filepath.Join(other, "checkpoint.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint.json"), forged, 0o600))
	log = open(t, audit.Options{Dir: dir, Signer: k})
	require.NoError(t, log.Close())
	require.Equal(t, uint64(1), records(t, dir)[0].Seq)
}
