package check

import (
	"slices"
	"strings"

	"github.com/kong-prefect/kong-prefect/plugin"
)

// nearPlugin recognizes a misspelled name of ours.
func nearPlugin(name string) string {
	if slices.Contains(plugin.Names(), name) {
		return ""
	}
	if strings.HasPrefix(name, "prefect") {
		if near := didYouMean(strings.ReplaceAll(name, "_", "-"), plugin.Names()); near != "" {
			return near
		}
		return "; there are " + strings.Join(plugin.Names(), ", ")
	}
	return didYouMean(name, plugin.Names())
}

// didYouMean offers the one name that is near.
func didYouMean(name string, names []string) string {
	best, distance := "", 3
	for _, candidate := range names {
		if d := editDistance(strings.ToLower(name), candidate); d < distance && d < len(name) {
			best, distance = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return "; is it " + best + "?"
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
