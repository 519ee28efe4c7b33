package outbox

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// CapPages keeps the file from growing beyond so many pages.
func (s *SQLite) CapPages(t *testing.T, pages int) {
	_, err := s.write.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
	require.NoError(t, err)
}

// Pragma is a setting of the connection that writes.
func (s *SQLite) Pragma(t *testing.T, name string) (value string) {
	require.NoError(t, s.write.db.QueryRow("PRAGMA "+name).Scan(&value))
	return value
}
