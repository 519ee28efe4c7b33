package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// pollEvery is how often a follower looks for new records.
const pollEvery = 200 * time.Millisecond

// Records calls each with the records of the log in order, from the one after
// the number after on, until each returns false. It doesn't check the chain;
// [Verify] does. A line that is torn at the very end is not a record yet.
func Records(dir string, after uint64, each func(Record) bool) error {
	files, closeFiles, err := snapshot(dir)
	if err != nil {
		return err
	}
	defer closeFiles()
	return eachRecord(files, after, each)
}

func eachRecord(files []logFile, after uint64, each func(Record) bool) error {
	for i, file := range files {
		if i+1 < len(files) && endsBefore(files[i+1].path, after) {
			continue
		}
		more := true
		_, err := file.eachLine(func(line []byte) error {
			r, err := parseLine(line)
			if err != nil {
				return fmt.Errorf("%s: %w", file.path, err)
			}
			if r.Seq > after {
				more = each(r)
			}
			if !more {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return err
		}
		if !more {
			return nil
		}
	}
	return nil
}

var errStop = errors.New("stop")

// endsBefore tells by the next file's name that a file has nothing after seq.
func endsBefore(next string, seq uint64) bool {
	var first uint64
	_, err := fmt.Sscanf(filepath.Base(next), "audit-%d.jsonl", &first)
	return err == nil && first <= seq+1
}

// Follow calls each with the records after a number, and with those that come,
// until the context ends or each fails.
func Follow(ctx context.Context, dir string, after uint64, each func(Record) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	seen := followed{}
	for {
		if seen.changed(dir) {
			var failed error
			err := Records(dir, after, func(r Record) bool {
				if failed = errors.Join(ctx.Err(), each(r)); failed == nil {
					after = r.Seq
				}
				return failed == nil
			})
			// A file may be sealed while it is read: the next look finds it.
			if errors.Is(err, fs.ErrNotExist) {
				seen = followed{}
				err = nil
			}
			if err = errors.Join(failed, err); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// followed is how the current file looked last time.
type followed struct {
	info os.FileInfo
}

func (f *followed) changed(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, currentName))
	if err != nil {
		f.info = nil
		return true
	}
	same := f.info != nil && os.SameFile(f.info, info) && f.info.Size() == info.Size()
	f.info = info
	return !same
}

// logFile is a file of the log at one moment.
type logFile struct {
	path string
	open *os.File // the last one, whatever its name is by now; nil for the others
}

// snapshot gives the files of the log as they are together at one moment,
// oldest first: while they are read the last may be sealed and others begun,
// and between two of them nothing must be left out.
func snapshot(dir string) (files []logFile, closeFiles func(), err error) {
	current, err := os.Open(filepath.Join(dir, currentName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	closeFiles = func() { _ = current.Close() } // nil closes with an error
	sealed, err := sealedFiles(dir)
	if err != nil {
		closeFiles()
		return nil, nil, err
	}
	for _, path := range sealed {
		if current != nil && isNow(current, path) {
			return append(files, logFile{path, current}), closeFiles, nil // it was sealed meanwhile
		}
		files = append(files, logFile{path: path})
	}
	if current != nil {
		files = append(files, logFile{current.Name(), current})
	}
	return files, closeFiles, nil
}

// isNow tells whether an open file has this name by now.
func isNow(file *os.File, path string) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	other, err := os.Stat(path)
	return err == nil && os.SameFile(mine, other)
}

// eachLine calls each with the whole lines of a file, without line feeds. What
// each is given is its own until the next call. torn is what is behind the
// last line feed.
func (f logFile) eachLine(each func(line []byte) error) (torn []byte, err error) {
	file := f.open
	if file == nil {
		if file, err = os.Open(f.path); err != nil {
			return nil, err
		}
		defer file.Close()
	}
	lines := bufio.NewReaderSize(file, maxRecordBytes+1)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == nil:
			if err := each(line[:len(line)-1]); err != nil {
				return nil, err
			}
		case errors.Is(err, io.EOF):
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("%s: %w: longer than %d bytes", f.path, errRecord, maxRecordBytes)
		default:
			return nil, err
		}
	}
}
