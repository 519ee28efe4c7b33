package tree_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const casesPage = "docs/security-cases.md"

// namedTest is a test as the page names it: `folder TestName/entry`.
var namedTest = regexp.MustCompile("`([a-z0-9/]+) ((?:Test|Fuzz)\\w+)(?:/([^`]+))?`")

// TestEverySecurityCaseHasItsTest finds every test that the page names, and in
// it the entry of its table as a string.
func TestEverySecurityCaseHasItsTest(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("../..", casesPage))
	require.NoError(t, err)
	folders := map[string]map[string]map[string]bool{}
	cases := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| case |") {
			continue
		}
		cases++
		named := namedTest.FindAllStringSubmatch(line, -1)
		require.Len(t, named, strings.Count(line, "`")/2, "%s: a test is named as `folder TestName/entry`: %s", casesPage, line)
		require.NotEmpty(t, named, "%s: a case without a test: %s", casesPage, line)
		for _, n := range named {
			folder, function, entry := n[1], n[2], n[3]
			if folders[folder] == nil {
				folders[folder] = testsOf(t, folder)
			}
			texts, found := folders[folder][function]
			require.True(t, found, "%s names %s in %s, which isn't there: name the test that holds the case now", casesPage, function, folder)
			require.True(t, entry == "" || texts[entry], "%s names %q in %s, which isn't there: name the entry that holds the case now", casesPage, entry, function)
		}
	}
	require.Greater(t, cases, 50)
}

// testsOf gives the tests of a folder, each with the strings in it.
func testsOf(t *testing.T, folder string) map[string]map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", folder, "*_test.go"))
	require.NoError(t, err)
	tests := map[string]map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil {
				continue
			}
			texts := map[string]bool{}
			ast.Inspect(f, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						texts[s] = true
					}
				}
				return true
			})
			tests[f.Name.Name] = texts
		}
	}
	return tests
}
