package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// row is one figure. Goal is nil where a figure is only worth knowing.
type row struct {
	Name  string   `json:"name"` // package/what/of what
	Value float64  `json:"value"`
	Unit  string   `json:"unit"`
	Goal  *float64 `json:"goal"`
	Met   *bool    `json:"met"`

	least bool // the goal is the least, not the most
}

func figure(name string, value float64, unit string) row {
	return row{Name: name, Value: value, Unit: unit}
}

// atMost says what the figure should not exceed.
func (r row) atMost(goal float64) row {
	met := r.Value <= goal
	r.Goal, r.Met = &goal, &met
	return r
}

// atLeast says what the figure should reach.
func (r row) atLeast(goal float64) row {
	met := r.Value >= goal
	r.Goal, r.Met, r.least = &goal, &met, true
	return r
}

func (r row) goal() string {
	if r.Goal == nil {
		return ""
	}
	if r.least {
		return fmt.Sprintf("≥ %.4g", *r.Goal)
	}
	return fmt.Sprintf("≤ %.4g", *r.Goal)
}

func (r row) verdict() string {
	switch {
	case r.Met == nil:
		return ""
	case *r.Met:
		return "met"
	default:
		return "MISSED"
	}
}

// printTable writes the rows for people.
func printTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "name\tvalue\tunit\tgoal\t")
	missed := 0
	for _, r := range rows {
		if r.Met != nil && !*r.Met {
			missed++
		}
		fmt.Fprintf(t, "%s\t%.4g\t%s\t%s\t%s\n", r.Name, r.Value, r.Unit, r.goal(), r.verdict())
	}
	_ = t.Flush()
	fmt.Fprintf(w, "%d figures, %d goals missed\n", len(rows), missed)
}

// save writes the rows into a file. Rows of parts that didn't run this time
// are kept as they are.
func save(path string, rows []row, ran []string) error {
	var kept []row
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, err)
	}
	all := []row{}
	for _, r := range kept {
		if part, _, _ := strings.Cut(r.Name, "/"); !contains(ran, part) {
			all = append(all, r)
		}
	}
	data, err = json.MarshalIndent(append(all, rows...), "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
