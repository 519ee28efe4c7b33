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
