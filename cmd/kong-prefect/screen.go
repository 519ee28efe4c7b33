package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// paint is how a text looks where colours are shown. It never carries meaning
// that the text itself doesn't have.
type paint string

const (
	plain   paint = ""
	good    paint = "\x1b[32m" // green
	bad     paint = "\x1b[1;31m"
	caution paint = "\x1b[33m"
	advised paint = "\x1b[36m"
	strong  paint = "\x1b[1m"
	faint   paint = "\x1b[2m"

	unpainted = "\x1b[0m"
)

// screen is where a command writes for people. What it is given may hold
// bytes that a terminal would obey: those come out as question marks.
type screen struct {
	out      io.Writer
	coloured bool
}

// screenOf shows colours where out is a terminal that has them and nobody
// forbids them (https://no-color.org).
func screenOf(out io.Writer) screen {
	return screen{out, isTerminal(out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// paint gives the text as it is to be written.
func (s screen) paint(p paint, text string) string {
	text = printable(text)
	if !s.coloured || p == plain || text == "" {
		return text
	}
	return string(p) + text + unpainted
}

// say writes one line of texts, each a string or a [painted], with nothing
// between them.
func (s screen) say(texts ...any) error {
	_, err := fmt.Fprintln(s.out, s.join(texts))
	return err
}

func (s screen) join(texts []any) string {
	var b strings.Builder
	for _, t := range texts {
		if p, ok := t.(painted); ok {
			b.WriteString(s.paint(p.paint, p.text))
		} else {
			b.WriteString(printable(fmt.Sprint(t)))
		}
	}
	return b.String()
}

// printable keeps what a terminal would obey out of what somebody else chose.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// painted is a text with its look.
type painted struct {
	paint paint
	text  string
}

// table is lines of cells, aligned when all are known.
type table struct {
	screen screen
	rows   [][]any
	widths []int
}

// table begins a table. Without head it has none.
func (s screen) table(head ...string) *table {
	t := &table{screen: s}
	if len(head) > 0 {
		cells := make([]any, len(head))
		for i, h := range head {
			cells[i] = painted{strong, h}
		}
		t.row(cells...)
	}
	return t
}

// row adds a line. A cell is a [painted] or whatever fmt.Sprint writes; the
// last one of a line takes no part in the alignment.
func (t *table) row(cells ...any) {
	for i, c := range cells {
		if _, ok := c.(painted); !ok {
			cells[i] = painted{plain, fmt.Sprint(c)}
		}
		if i == len(cells)-1 {
			break
		}
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cells[i].(painted).text))
	}
	t.rows = append(t.rows, cells)
}

// print writes the table.
func (t *table) print() error {
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			cell := c.(painted)
			b.WriteString(t.screen.paint(cell.paint, cell.text))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(t.screen.out, b.String())
	return err
}
