package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// The names in the log's directory.
const (
	currentName    = "current.jsonl"   // where records are appended
	lockName       = "lock"            // held while a group of records is written
	checkpointName = "checkpoint.json" // the newest checkpoint's record, beside the chain
	sealedPattern  = "audit-%020d.jsonl"
)

const (
	folderMode = 0o750
	fileMode   = 0o640
)

// chainFile is the end of the chain on disk. Several processes may have it
// open at once, as happens while Kong reloads: whoever appends takes the lock
// and reads on from where it was, so there is one chain without forks.
type chainFile struct {
	dir      string
	maxBytes int64

	lock    *os.File
	current *os.File
	size    int64 // of current, as far as at is true
	at      position
	// untold is what is wrong with the files, as long as the chain doesn't
	// tell of it.
	untold []string
}

// openChain opens the chain, which was signed up to a place: it never goes on
// before that.
func openChain(dir string, maxBytes int64, signed position) (*chainFile, error) {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	return &chainFile{dir: dir, maxBytes: maxBytes, lock: lock, at: signed}, nil
}

func (f *chainFile) close() error {
	var err error
	if f.current != nil {
		err = f.current.Close()
	}
	return errors.Join(err, f.lock.Close())
}

// locked runs do while no other process writes, with at the chain's true end.
// The kernel lets go of the lock when a process dies.
func (f *chainFile) locked(do func() error) error {
	if err := flock(f.lock, syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking the audit: %w", err)
	}
	defer func() { _ = flock(f.lock, syscall.LOCK_UN) }()
	known := f.at
	if err := f.catchUp(); err != nil {
		f.at = known
		return err
	}
	f.neverBack(known)
	return do()
}

// neverBack keeps the chain's numbers: where files that were there are gone, it
// goes on behind them, so that everybody sees the gap. A chain that began anew
// would hide it.
func (f *chainFile) neverBack(known position) {
	if f.at.seq >= known.seq {
		return
	}
	f.untold = append(f.untold, fmt.Sprintf("records %d to %d are gone: the files end before them", f.at.seq+1, known.seq))
	f.at = known
}

func flock(file *os.File, how int) error {
	for {
		if err := syscall.Flock(int(file.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// catchUp reads what other processes wrote since. The incomplete line of a
// process that died while it wrote is cut off.
func (f *chainFile) catchUp() error {
	if err := f.reopen(); err != nil {
		return err
	}
	info, err := f.current.Stat()
	if err != nil {
		return err
	}
	if info.Size() == f.size {
		return nil
	}
	if info.Size() < f.size {
		return fmt.Errorf("%s was cut while it was in use", f.current.Name())
	}
	tail, err := f.tail(info.Size())
	if err != nil {
		return err
	}
	whole := bytes.LastIndexByte(tail, '\n') + 1
	torn := tail[whole:]
	if whole > 0 {
		line := tail[bytes.LastIndexByte(tail[:whole-1], '\n')+1 : whole-1]
		r, err := parseLine(line)
		if err != nil {
			return f.damaged(err)
		}
		f.at = position{r.Seq, sha256.Sum256(line)}
	} else if int64(len(tail)) < info.Size()-f.size {
		return f.damaged(errRecord)
	}
	f.size = info.Size() - int64(len(torn))
	if len(torn) > 0 {
		sum := sha256.Sum256(torn)
		f.untold = append(f.untold, fmt.Sprintf(
			"a process was killed while it wrote: an incomplete record of %d bytes (SHA-256 %s) was cut off", len(torn), hex.EncodeToString(sum[:])))
		return f.current.Truncate(f.size)
	}
	return nil
}

func (f *chainFile) damaged(err error) error {
	return fmt.Errorf("the last record of %s can't be read (kong-prefect audit verify says more; move the file aside to go on, with a gap that verify tells of): %w", f.current.Name(), err)
}

// tail is the file's end from the known size on, and never more than a torn
// line and a whole one need.
func (f *chainFile) tail(size int64) ([]byte, error) {
	from := max(f.size, size-2*(maxRecordBytes+1))
	tail := make([]byte, size-from)
	if _, err := f.current.ReadAt(tail, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return tail, nil
}

// reopen follows a rotation that another process made.
func (f *chainFile) reopen() error {
	path := filepath.Join(f.dir, currentName)
	if f.current != nil {
		mine, err := f.current.Stat()
		if err != nil {
			return err
		}
		onDisk, err := os.Stat(path)
		if err == nil && os.SameFile(mine, onDisk) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		_ = f.current.Close()
		f.current = nil
	}
	// What is sealed ends before what is current: its last record is where an
	// empty current file goes on.
	sealed, err := sealedFiles(f.dir)
	if err != nil {
		return err
	}
	f.at, f.size = position{last: genesis}, 0
	if len(sealed) > 0 {
		if f.at, err = lastOf(sealed[len(sealed)-1]); err != nil {
			return err
		}
	}
	f.current, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, fileMode)
	if err != nil {
		return err
	}
	return syncFolder(f.dir)
}

// sync makes what was written durable.
func (f *chainFile) sync() error { return syscall.Fdatasync(int(f.current.Fd())) }

// write appends lines that were made from at. When it fails the file is as it
// was, or the next catchUp says what is torn.
func (f *chainFile) write(lines []byte, end position) error {
	n, err := f.current.Write(lines)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, f.current.Truncate(f.size))
		}
		return err
	}
	f.size += int64(n)
	f.at = end
	f.untold = nil
	return nil
}

// seal ends the current file, which is full, and begins the next. The chain
// goes on.
func (f *chainFile) seal() error {
	first, err := f.firstSeq()
	if err != nil {
		return err
	}
	sealed := filepath.Join(f.dir, fmt.Sprintf(sealedPattern, first))
	if err := os.Rename(filepath.Join(f.dir, currentName), sealed); err != nil {
		return err
	}
	return f.reopen()
}

// firstSeq is the number of the current file's first record.
func (f *chainFile) firstSeq() (uint64, error) {
	head := make([]byte, min(f.size, maxRecordBytes+1))
	if _, err := f.current.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	line, _, found := bytes.Cut(head, []byte{'\n'})
	if !found {
		return 0, fmt.Errorf("%s: %w", f.current.Name(), errRecord)
	}
	r, err := parseLine(line)
	return r.Seq, err
}

// lastOf is where a sealed file ends.
func lastOf(path string) (position, error) {
	file, err := os.Open(path)
	if err != nil {
		return position{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return position{}, err
	}
	tail := make([]byte, min(info.Size(), 2*(maxRecordBytes+1)))
	if _, err := file.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return position{}, err
	}
	tail = bytes.TrimSuffix(tail, []byte{'\n'})
	line := tail[bytes.LastIndexByte(tail, '\n')+1:]
	r, err := parseLine(line)
	if err != nil {
		return position{}, fmt.Errorf("the last record of %s can't be read: %w", path, err)
	}
	return position{r.Seq, sha256.Sum256(line)}, nil
}

// sealedFiles are the full files, oldest first.
func sealedFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "audit-") && strings.HasSuffix(e.Name(), ".jsonl") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}

// syncFolder makes a name in the folder as durable as the file it names.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
